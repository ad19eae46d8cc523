package upgrade

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// story is a Canary on its way into a state, and out of it.
type story struct {
	*fixtures.Story
	state state
	r     *fixtures.Receiver
}

// act does something about a Canary.
type act func(*story)

// check returns what is missing, or "".
type check func(*siskinv1.Canary) string

// gets waits until ok.
func (s *story) gets(limit time.Duration, ok check) {
	s.Helper()
	s.When(limit, func(c *siskinv1.Canary) string {
		if missing := ok(c); missing != "" {
			return s.state.name + ": " + missing
		}
		return ""
	})
}

func both(first, second act) act {
	return func(s *story) {
		s.Helper()
		first(s)
		second(s)
	}
}

func releases(version string) act { return func(s *story) { s.Release(version) } }

func patches(spec string) act { return func(s *story) { s.Patch(spec) } }

func answers(hook string, a fixtures.Answer) act {
	return func(s *story) { s.r.Set(s.NS+"/"+hook, a) }
}

// asks writes a request, which must be accepted.
func asks(request string) act {
	return func(s *story) {
		s.Helper()
		s.Ask(request)
		if r := s.Answered(request); !r.Accepted {
			s.Fatalf("%s: request %s is refused: %s", s.state.name, request, r.Message)
		}
	}
}

func unless(ok bool, missing string) string {
	if ok {
		return ""
	}
	return missing
}

func phase(p siskinv1.Phase) check {
	return func(c *siskinv1.Canary) string { return unless(c.Status.Phase == p, "not "+string(p)) }
}

func weight(n int32) check {
	return func(c *siskinv1.Canary) string {
		return unless(c.Status.CanaryWeight == n, fmt.Sprintf("weight %d, not %d", c.Status.CanaryWeight, n))
	}
}

func rollout(id int64) check {
	return func(c *siskinv1.Canary) string {
		return unless(c.Status.Rollout != nil && c.Status.Rollout.ID == id, fmt.Sprintf("not rollout %d", id))
	}
}

// promoted tells that a version was brought to the primary.
func promoted(version string) check {
	return all(phase(siskinv1.PhaseSucceeded), stable(version))
}

// takenBack tells that the first version serves again.
func takenBack(c *siskinv1.Canary) string {
	return all(phase(siskinv1.PhaseFailed), stable("1.0.0"))(c)
}

func stable(version string) check {
	return func(c *siskinv1.Canary) string {
		return unless(c.Status.Stable != nil && strings.HasSuffix(c.Status.Stable.Image, ":"+version), "the primary does not run "+version)
	}
}

func all(checks ...check) check {
	return func(c *siskinv1.Canary) string {
		for _, ok := range checks {
			if missing := ok(c); missing != "" {
				return missing
			}
		}
		return ""
	}
}

// canaries brings one Canary into each state.
func canaries(t *testing.T, e *fixtures.Env, r *fixtures.Receiver) []*story {
	t.Helper()
	var out []*story
	for _, st := range states() {
		out = append(out, begin(t, e, r, st))
	}
	for _, s := range out {
		s.gets(2*time.Minute, phase(siskinv1.PhaseInitialized))
		if s.state.released {
			s.Release("1.1.0")
		}
	}
	for _, s := range out {
		s.gets(2*time.Minute, s.state.reached)
		if s.state.then != nil {
			s.state.then(s)
		}
	}
	for _, s := range out {
		if s.state.until != nil {
			s.gets(time.Minute, s.state.until)
		}
		if !s.Now().Spec.Suspend { // nothing at all is done for it
			rests(s)
		}
	}
	lookOnce(t, e, out)
	settled(t, e, namespaces(out), late)
	return out
}

// lookOnce makes Siskin look at all Canaries once more, when no check is near: the words that follow are those of a look in which
// nothing happens, as that after a start is. A step that ends within a minute would keep them back.
func lookOnce(t *testing.T, e *fixtures.Env, stories []*story) {
	t.Helper()
	for _, s := range stories {
		s.gets(3*time.Minute, func(c *siskinv1.Canary) string {
			if !going(c.Status.Phase) || c.Status.Step == nil || c.Status.Step.EndsAt == nil {
				return ""
			}
			left := time.Until(c.Status.Step.EndsAt.Time)
			return unless(left < 0 || left > 80*time.Second, "a check is due soon")
		})
	}
	for _, s := range stories {
		err := e.API.Patch(t.Context(), s.Now(), client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"annotations": {"example.org/look": "once"}}}`)))
		if err != nil {
			t.Fatal(err)
		}
	}
}

// begin applies the app and its Canary.
func begin(t *testing.T, e *fixtures.Env, r *fixtures.Receiver, st state) *story {
	t.Helper()
	st.app.Name = st.name
	st.app.Gateway = fixtures.TestGateway
	s := &story{Story: e.Story(t, st.app), state: st, r: r}
	var hooks strings.Builder
	for i, hook := range st.hooks {
		if i == 0 {
			hooks.WriteString("\n    webhooks:")
		}
		fmt.Fprintf(&hooks, "\n    - {name: %[1]s, type: %[1]s, url: %[2]q}", hook, r.URL(s.NS+"/"+hook))
	}
	for _, hook := range st.refused {
		r.Set(s.NS+"/"+hook, fixtures.No)
	}
	if st.busy > 0 {
		if err := s.SetLoad(t.Context(), s.NS, "app="+st.name, st.busy); err != nil {
			t.Fatal(err)
		}
	}
	workload := s.App.Deployment()
	if st.edit != nil {
		workload = st.edit(workload)
	}
	canary := s.App.Canary
	if st.blueGreen {
		canary = s.App.BlueGreen
	}
	analysis := "    " + strings.Join(st.analysis, "\n    ") + "\n    threshold: 1" + hooks.String()
	manifests := []string{workload, canary(analysis, append(st.spec, "progressDeadlineSeconds: 300")...)} // they all start at once
	if st.beside != nil {
		manifests = append([]string{st.beside(st.name)}, manifests...)
	}
	s.Apply(strings.Join(manifests, "---\n"))
	return s
}

// rests waits until the target has no pods, nor the canary of a rollout that has ended.
func rests(s *story) {
	s.Helper()
	cluster.Eventually(s, time.Minute, func(ctx context.Context) error {
		c, err := s.Canary(ctx, s.NS, s.App.Name)
		if err != nil {
			return err
		}
		var pods corev1.PodList
		if err := s.API.List(ctx, &pods, client.InNamespace(s.NS)); err != nil {
			return err
		}
		for _, pod := range pods.Items {
			switch role := pod.Labels[siskinv1.RoleLabel]; {
			case role == "":
				return fmt.Errorf("%s: pod %s of the target is still there", s.state.name, pod.Name)
			case role == siskinv1.RoleCanary && (c.Status.Phase == siskinv1.PhaseBaking || !going(c.Status.Phase)):
				return fmt.Errorf("%s: pod %s of the canary is still there", s.state.name, pod.Name)
			}
		}
		return nil
	})
}

func namespaces(stories []*story) []string {
	var out []string
	for _, s := range stories {
		out = append(out, s.NS)
	}
	return out
}

// goesOn checks that the new version works on what the old one left: it releases, promotes, and takes back what it did not begin.
func goesOn(t *testing.T, stories []*story) {
	t.Helper()
	for _, s := range stories {
		s.state.after(s)
	}
	for _, s := range stories {
		s.gets(2*time.Minute, s.state.ends)
	}
}
