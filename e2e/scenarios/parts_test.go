package scenarios

import (
	"fmt"
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// setting is a ConfigMap with one key.
func setting(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {COLOR: %s}\n", name, value)
}

// rolledOut waits for the end of rollout n and checks that there was no other, and that each was told once.
func rolledOut(s *fixtures.Story, n int) *siskinv1.Canary {
	s.Helper()
	begun(s, int64(n-1))
	c := endsAs(s, siskinv1.PhaseSucceeded, time.Minute)
	if c.Status.Rollout.ID != int64(n) {
		s.Errorf("%d rollouts, not %d: %+v", c.Status.Rollout.ID, n, c.Status.History)
	}
	for _, e := range s.EventsWhen("NewRevision", n) {
		if e.Count > 1 {
			s.Errorf("told again: %+v", e)
		}
	}
	return c
}

// TestOneChangeOneRollout : a ConfigMap and the workload that reads it are changed one after the other. However that is
// done, it is one rollout.
func TestOneChangeOneRollout(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{EnvFrom: "settings"})
	s.Apply(setting("settings", "red"))
	s.Start(s.App.Canary(brisk))

	s.Apply(setting("settings", "blue"))
	rolledOut(s, 1)

	s.App.Version = "1.1.0"
	s.Apply(setting("settings", "green") + "---\n" + s.App.Deployment())
	rolledOut(s, 2)

	s.App.Version = "1.2.0"
	s.Apply(s.App.Deployment() + "---\n" + setting("settings", "white"))
	rolledOut(s, 3)

	// As a reloader does: it sees the ConfigMap, and patches the workload that reads it.
	s.Apply(setting("settings", "black"))
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"STAKATER_SETTINGS_CONFIGMAP","value":"f00"}]}]}}}}`
	out, err := s.Kubectl(t.Context(), "-n", s.NS, "patch", "deployment", s.App.Name, "--field-manager=Reloader", "--type=strategic", "-p", patch)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := rolledOut(s, 4)
	for _, e := range c.Status.History {
		if e.Outcome != string(siskinv1.PhaseSucceeded) {
			t.Errorf("%s was %s", e.Revision, e.Outcome)
		}
	}
}

// TestOneCommitOneRollout : a commit of many objects, the first and the last of which belong to one app, is one
// rollout. Told are the commit and the author of what changed.
func TestOneCommitOneRollout(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{EnvFrom: "aa-settings"})
	repo := s.Repo(t, s.NS, "", "")
	files := func(value string) map[string]string {
		out := map[string]string{"app.yaml": s.App.Deployment(), "settings.yaml": setting("aa-settings", value)}
		var many strings.Builder
		for i := range 150 {
			many.WriteString(setting(fmt.Sprintf("many-%d", i), value) + "---\n")
		}
		out["many.yaml"] = many.String()
		return out
	}
	first := files("red")
	first["canary.yaml"] = s.App.Canary(brisk)
	repo.Commit("first", first)
	s.Apply("apiVersion: siskin.dev/v1\nkind: GitSync\nmetadata: {name: shop}\nspec: {interval: 1s, url: \"" + s.GitURLInCluster(s.NS) + "\"}\n")
	s.Phase(siskinv1.PhaseInitialized, time.Minute)

	s.App.Version = "1.1.0"
	hash := repo.Commit("both", files("blue"))
	c := rolledOut(s, 1)
	if st := c.Status.Stable; !strings.HasSuffix(st.Commit, hash) || st.Author != "Ann" {
		t.Errorf("the commit of both parts is told as %s by %s", st.Commit, st.Author)
	}

	repo.Author = "Bob"
	hash = repo.Commit("the settings alone", map[string]string{"settings.yaml": setting("aa-settings", "green")})
	c = rolledOut(s, 2)
	if st := c.Status.Stable; !strings.HasSuffix(st.Commit, hash) || st.Author != "Bob" || st.CommitMessage != "the settings alone" {
		t.Errorf("the commit of the settings is told as %s by %s: %s", st.Commit, st.Author, st.CommitMessage)
	}
	if mark := s.Deployment("").Annotations[siskinv1.GitApplyingAnnotation]; mark != "" {
		t.Errorf("the mark %q is left", mark)
	}
}

// TestRecreateFromGit : git switches the strategy of a Canary's target to Recreate and back. Each switch comes with a
// new version, which is released.
func TestRecreateFromGit(t *testing.T) {
	t.Parallel()
	s, _ := story(t, fixtures.App{})
	repo := s.Repo(t, s.NS, "", "")
	repo.Commit("first", map[string]string{"app.yaml": s.App.Deployment(), "canary.yaml": s.App.Canary(brisk)})
	s.Apply("apiVersion: siskin.dev/v1\nkind: GitSync\nmetadata: {name: shop}\nspec: {interval: 1s, url: \"" + s.GitURLInCluster(s.NS) + "\"}\n")
	s.Phase(siskinv1.PhaseInitialized, time.Minute)
	for i, strategy := range []string{"{type: Recreate}", "{type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}", "{type: Recreate, rollingUpdate: null}"} {
		s.App.Version = fmt.Sprintf("1.%d.0", i+1)
		app := strings.Replace(s.App.Deployment(), "  template:\n", "  strategy: "+strategy+"\n  template:\n", 1)
		repo.Commit("strategy "+strategy, map[string]string{"app.yaml": app})
		rolledOut(s, i+1)
	}
}
