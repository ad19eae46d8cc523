package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/load"
)

// TestConfiguration : a change of a ConfigMap or a Secret alone is released like code: step by step, judged, taken back, and back
// again when git returns. Two apps that share a ConfigMap have copies of their own, and all of them go with the Canary.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{ConfigMap: "settings", Secret: "chaos"})
	c := s.App.Canary(judged)
	s.Apply(s.App.Deployment())
	s.Apply(c)
	missing := s.When(20*time.Second, stalled("ConfigMissing"))
	if !strings.Contains(missing.Status.Message, "ConfigMap settings does not exist and is read by container app (env VERSION)") {
		t.Errorf("message %q", missing.Status.Message)
	}
	configure(s, "1.0.0", "0", "")
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	other := *s
	other.App.Name, other.App.Host, other.App.Secret = "other", "other-"+s.App.Host, ""
	other.Start(other.App.Canary(brisk))
	users := s.Users(100)

	configure(s, "1.1.0", "0", "")
	begun(s, 0)
	begun(&other, 0)
	good := endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	if sum := s.NobodyFailed("users of the good configuration", users, time.Time{}); sum.ByVersion["1.1.0"] == 0 || sum.ByVersion["1.0.0"] == 0 {
		t.Errorf("nobody was moved: %v", sum)
	}
	endsAs(&other, siskinv1.PhaseSucceeded, time.Minute)

	bad := time.Now()
	configure(s, "1.2.0", "0.5", "")
	begun(s, 1)
	endsAs(s, siskinv1.PhaseFailed, time.Minute)
	s.NobodyFailed("users of the bad configuration", users, bad, "1.2.0")
	serves(s, "1.1.0", s.App.Name+"-primary-", 10*time.Second)

	configure(s, "1.1.0", "0", "")
	// The ConfigMap is back at once; the Secret is looked at with it.
	back := s.Phase(siskinv1.PhaseInitialized, 20*time.Second)
	if back.Status.Stable.Revision != good.Status.Stable.Revision || back.Status.Rollout.ID != 2 {
		t.Errorf("going back is no release: %+v", back.Status)
	}
	hidden(s)

	configure(s, "1.1.0", "0", "new") // the Secret alone: nobody tells, it is looked at once a minute
	s.When(80*time.Second, func(c *siskinv1.Canary) string {
		if c.Status.Rollout.ID < 3 {
			return "no rollout of the Secret"
		}
		return ""
	})
	endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{}, "1.2.0")

	remove(s)
	gone(s)
	copies(s, "other")
	full(s, 1)
}

// TestDeletedCopies : somebody deletes the copies that the primary reads. They are made again, so that new pods start. When the original has
// moved on that is told, and nothing else gets the name, until git brings the content back. Another Canary's copy of the same ConfigMap
// is left alone.
func TestDeletedCopies(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{ConfigMap: "settings", Secret: "chaos"})
	configure(s, "1.0.0", "0", "")
	s.Start(s.App.Canary(brisk))
	other := *s
	other.App.Name, other.App.Host, other.App.Secret = "other", "other-"+s.App.Host, ""
	other.Start(other.App.Canary(brisk))
	theirs := copiesOf(&other)[0]
	users := s.Users(50)
	both := copiesOf(s)
	deleted(s, both...)
	remade(s, both[0], 10*time.Second) // it is watched
	remade(s, both[1], 80*time.Second) // it is looked at once a minute
	if out, err := s.Kubectl(t.Context(), "-n", s.NS, "scale", "deployment/"+s.App.Name, "--replicas=2"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	sized(s, 2)

	configure(s, "1.1.0", "0", "")
	s.Weight(20, time.Minute)
	s.Accepted("pause@1")
	deleted(s, both[0])
	told := s.When(20*time.Second, stalled("ConfigCopyMissing"))
	if !strings.Contains(told.Status.Message, both[0].GetName()) || !strings.Contains(told.Status.Message, told.Status.Stable.Revision) {
		t.Errorf("message %q", told.Status.Message)
	}
	s.OneEvent("ConfigCopyMissing")
	configure(s, "1.0.0", "0", "")
	remade(s, both[0], 20*time.Second)
	if cm, ok := both[0].(*corev1.ConfigMap); !ok || cm.Data["VERSION"] != "1.0.0" {
		t.Errorf("it came back as %+v", both[0])
	}
	s.Phase(siskinv1.PhaseCancelled, 30*time.Second)
	users.Stop()
	s.NobodyFailed("users", users, time.Time{})
	var now corev1.ConfigMap
	if err := s.API.Get(t.Context(), client.ObjectKeyFromObject(theirs), &now); err != nil || now.UID != theirs.GetUID() {
		t.Errorf("the other Canary's copy is not what it was: %v", err)
	}
}

// TestW22RolloutsThatShareAConfigMap : two apps read one ConfigMap, and both are midway in the rollout of its change. One is taken back; the
// other goes on, and is promoted. Each side of each app reads a copy of its own Canary all the time, also in pods that come up later: what
// it was promoted to, or what it had before, whatever the ConfigMap says by then.
func TestW22RolloutsThatShareAConfigMap(t *testing.T) {
	t.Parallel()
	one, r := story(t, fixtures.App{ConfigMap: "settings"})
	two := *one
	two.App.Name, two.App.Host = "other", "other-"+one.App.Host
	both := []*fixtures.Story{one, &two}
	configure(one, "1.0.0", "0", "")
	gate := func(s *fixtures.Story) string { return s.NS + "/" + s.App.Name }
	users := map[*fixtures.Story]*load.Generator{}
	for _, s := range both {
		r.Set(gate(s), fixtures.No)
		s.Start(s.App.Canary(`    interval: 3s
    threshold: 1
    stepWeights: [30]
    webhooks: [{name: promotion, type: confirm-promotion, url: "` + r.URL(gate(s)) + `"}]`))
		users[s] = s.Users(50)
	}
	configure(one, "1.1.0", "0", "")
	for _, s := range both {
		s.Phase(siskinv1.PhaseWaitingPromotion, time.Minute)
		seen(s, users[s], "1.1.0")
		reads(s, "-primary", "1.0.0")
		reads(s, "-canary", "1.1.0")
	}

	two.Accepted("abort@1")
	endsAs(&two, siskinv1.PhaseFailed, time.Minute)
	drained(&two)
	if c := one.Now(); c.Status.Phase != siskinv1.PhaseWaitingPromotion || c.Status.CanaryWeight != 30 || c.Status.Rollout.ID != 1 {
		t.Errorf("the other one is in %s at %d%%: %s", c.Status.Phase, c.Status.CanaryWeight, c.Status.Message)
	}
	for _, s := range both { // new pods have to find what they read
		if out, err := s.Kubectl(t.Context(), "-n", s.NS, "scale", "deployment/"+s.App.Name, "--replicas=2"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		sized(s, 2)
		reads(s, "-primary", "1.0.0")
	}
	cluster.Eventually(t, 30*time.Second, func(context.Context) error {
		if d := one.Deployment("-canary"); d.Status.AvailableReplicas != 2 {
			return fmt.Errorf("the canary has %d available pods, not 2", d.Status.AvailableReplicas)
		}
		return nil
	})
	reads(one, "-canary", "1.1.0")

	r.Set(gate(one), fixtures.Yes)
	endsAs(one, siskinv1.PhaseSucceeded, time.Minute)
	reads(one, "-primary", "1.1.0")
	serves(one, "1.1.0", one.App.Name+"-primary-", 10*time.Second)
	reads(&two, "-primary", "1.0.0")
	serves(&two, "1.0.0", two.App.Name+"-primary-", 10*time.Second)
	if c := two.Now(); c.Status.Phase != siskinv1.PhaseFailed || c.Status.Rollout.ID != 1 {
		t.Errorf("what was taken back is in %s, rollout %d: %s", c.Status.Phase, c.Status.Rollout.ID, c.Status.Message)
	}
	for _, s := range both {
		users[s].Stop()
		s.NobodyFailed("users of "+s.App.Name, users[s], time.Time{})
	}
}

// reads checks that a side reads its version from a copy of the ConfigMap that is its own Canary's.
func reads(s *fixtures.Story, suffix, version string) {
	s.Helper()
	for _, e := range s.Deployment(suffix).Spec.Template.Spec.Containers[0].Env {
		if e.ValueFrom == nil || e.ValueFrom.ConfigMapKeyRef == nil {
			continue
		}
		var cm corev1.ConfigMap
		if err := s.API.Get(s.Context(), client.ObjectKey{Namespace: s.NS, Name: e.ValueFrom.ConfigMapKeyRef.Name}, &cm); err != nil {
			s.Fatal(err)
		}
		if cm.Labels[siskinv1.CanaryLabel] != s.App.Name || cm.Data["VERSION"] != version {
			s.Errorf("%s%s reads %q from ConfigMap %s of %q, not %s from a copy of its own", s.App.Name, suffix, cm.Data["VERSION"], cm.Name,
				cm.Labels[siskinv1.CanaryLabel], version)
		}
		return
	}
	s.Errorf("%s%s reads no ConfigMap", s.App.Name, suffix)
}

// copiesOf lists the copies that the primary's container reads.
func copiesOf(s *fixtures.Story) []client.Object {
	s.Helper()
	var out []client.Object
	for _, e := range s.Deployment("-primary").Spec.Template.Spec.Containers[0].Env {
		var obj client.Object
		switch {
		case e.ValueFrom == nil:
			continue
		case e.ValueFrom.ConfigMapKeyRef != nil:
			obj = &corev1.ConfigMap{}
			obj.SetName(e.ValueFrom.ConfigMapKeyRef.Name)
		default:
			obj = &corev1.Secret{}
			obj.SetName(e.ValueFrom.SecretKeyRef.Name)
		}
		if err := s.API.Get(s.Context(), client.ObjectKey{Namespace: s.NS, Name: obj.GetName()}, obj); err != nil {
			s.Fatal(err)
		}
		out = append(out, obj)
	}
	return out
}

func deleted(s *fixtures.Story, objs ...client.Object) {
	s.Helper()
	for _, obj := range objs {
		if err := s.API.Delete(s.Context(), obj); err != nil {
			s.Fatal(err)
		}
	}
}

// remade waits until an object is there again, and reads it.
func remade(s *fixtures.Story, obj client.Object, within time.Duration) {
	s.Helper()
	cluster.Eventually(s, within, func(ctx context.Context) error {
		return s.API.Get(ctx, client.ObjectKeyFromObject(obj), obj)
	})
}

// configure writes what the app reads, as git would.
func configure(s *fixtures.Story, version, ratio, extra string) {
	s.Helper()
	s.Apply(fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: chaos}
stringData: {FAIL_RATIO: %q, EXTRA: %q}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {VERSION: %q}
`, ratio, extra, version))
}

// hidden checks that no snapshot holds what is in the Secret.
func hidden(s *fixtures.Story) {
	s.Helper()
	var list appsv1.ControllerRevisionList
	if err := s.API.List(s.Context(), &list, client.InNamespace(s.NS), client.HasLabels{siskinv1.CanaryLabel}); err != nil {
		s.Fatal(err)
	}
	if len(list.Items) == 0 {
		s.Fatal("no snapshots")
	}
	for _, cr := range list.Items {
		if text := string(cr.Data.Raw); strings.Contains(text, "0.5") || strings.Contains(text, "MC41") {
			s.Errorf("snapshot %s holds a secret: %s", cr.Name, text)
		}
	}
}

// copies waits until only one Canary has copies.
func copies(s *fixtures.Story, canary string) {
	s.Helper()
	cluster.Eventually(s, 30*time.Second, func(ctx context.Context) error {
		var maps corev1.ConfigMapList
		var secrets corev1.SecretList
		for _, list := range []client.ObjectList{&maps, &secrets} {
			if err := s.API.List(ctx, list, client.InNamespace(s.NS), client.HasLabels{siskinv1.CanaryLabel}); err != nil {
				return err
			}
		}
		n := 0
		for _, cm := range maps.Items {
			if cm.Labels[siskinv1.CanaryLabel] != canary {
				return fmt.Errorf("ConfigMap %s is still there", cm.Name)
			}
			n++
		}
		if len(secrets.Items) > 0 || n == 0 {
			return fmt.Errorf("%d copies of Secrets, %d of ConfigMaps", len(secrets.Items), n)
		}
		return nil
	})
}
