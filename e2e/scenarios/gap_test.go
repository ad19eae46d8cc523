package scenarios

import (
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// TestPodsThatGoBeforeOthersCome : the pods of these apps are all gone for a while when another revision takes their
// place. The canary's stand in for them meanwhile: promotions, and what a person asks for without analysis, fail no
// request, at the gateway nor at the Services.
func TestPodsThatGoBeforeOthersCome(t *testing.T) {
	t.Parallel()
	in := func(strategy string) func(string) string {
		return func(m string) string { return strings.Replace(m, "\nspec:", "\nspec:\n  strategy: "+strategy, 1) }
	}
	as := func(m string) string { return m }
	for name, tt := range map[string]struct {
		app       fixtures.App
		strategy  func(manifest string) string
		bluegreen bool
	}{
		"recreate":    {fixtures.App{}, in("{type: Recreate}"), false},
		"recreate-2":  {fixtures.App{Replicas: 2}, in("{type: Recreate}"), false},
		"unavailable": {fixtures.App{}, in("{rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}"), false},
		"statefulset": {fixtures.App{Kind: target.StatefulSet}, as, false},
		"daemonset":   {fixtures.App{Kind: target.DaemonSet}, as, false},
		"bluegreen":   {fixtures.App{}, in("{type: Recreate}"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.app.Name = name
			s, _ := story(t, tt.app)
			if tt.app.Kind == target.StatefulSet {
				s.Apply(headless(s.App))
			}
			release := func(version string) {
				t.Helper()
				s.App.Version = version
				s.Apply(tt.strategy(s.App.Deployment()))
			}
			release("1.0.0")
			analysis := "    interval: 2s\n    threshold: 1\n    stepWeights: [50]"
			if tt.app.Replicas > 1 { // it has to grow before it stands in
				analysis += "\n    canaryReplicas: 1"
			}
			manifest := s.App.Canary(analysis)
			if tt.bluegreen {
				manifest = s.App.BlueGreen("    {interval: 2s, threshold: 1, iterations: 1}")
			}
			s.Apply(manifest)
			s.Phase(siskinv1.PhaseInitialized, time.Minute)
			apex, primary := s.Pods(25), s.PodsOf(name+"-primary", 25)
			users := apex
			if !tt.bluegreen {
				users = s.Users(100)
			}
			for id, version := range []string{"1.1.0", "1.2.0"} {
				release(version)
				begun(s, int64(id))
				endsAs(s, siskinv1.PhaseSucceeded, 2*time.Minute)
			}
			s.Accepted("rollback@1")
			begun(s, 2)
			endsAs(s, siskinv1.PhaseSucceeded, 2*time.Minute)
			rest(t, 2*time.Second)
			s.NobodyFailed("users", users, time.Time{})
			s.NobodyFailed("clients of the apex", apex, time.Time{})
			s.NobodyFailed("clients of the primary's Service", primary, time.Time{})
		})
	}
}
