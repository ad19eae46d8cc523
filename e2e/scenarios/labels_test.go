package scenarios

import (
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
	"github.com/siskin-dev/siskin/e2e/load"
)

// TestAppsThatShareLabels : four apps of one namespace, two that are selected by expressions alone, and two of which
// one has all labels of the other. Whoever asks for one gets that one, at rest and in rollouts, and nobody fails.
func TestAppsThatShareLabels(t *testing.T) {
	t.Parallel()
	first, _ := story(t, fixtures.App{})
	type app struct {
		*fixtures.Story
		selector, labels string
		users            *load.Generator
	}
	apps := []*app{
		{selector: "matchExpressions: [{key: color, operator: In, values: [red]}]", labels: "color: red"},
		{selector: "matchExpressions: [{key: color, operator: In, values: [blue]}]", labels: "color: blue"},
		{selector: "matchLabels: {app: shop}", labels: "app: shop"},
		{selector: "matchLabels: {app: shop, part: admin}", labels: "app: shop, part: admin"},
	}
	deploy := func(a *app, version string) {
		t.Helper()
		a.App.Version = version + "-" + a.App.Name
		a.Apply(strings.NewReplacer("matchLabels: {app: "+a.App.Name+"}", a.selector, "labels: {app: "+a.App.Name+"}", "labels: {"+a.labels+"}").
			Replace(a.App.Deployment()))
	}
	for i, name := range []string{"red", "blue", "front", "admin"} {
		a := apps[i]
		a.Story = &fixtures.Story{TB: t, Env: first.Env, NS: first.NS, App: fixtures.App{
			Name: name, Host: name + "." + first.NS + ".example.com", Replicas: 1, Gateway: fixtures.TestGateway,
		}}
		deploy(a, "1.0.0")
		a.Apply(a.App.Canary(brisk))
	}
	for _, a := range apps {
		a.Phase(siskinv1.PhaseInitialized, time.Minute)
		a.users = a.Users(25)
	}
	for _, a := range apps[2:] {
		deploy(a, "1.1.0")
	}
	for _, a := range apps[2:] {
		endsAs(a.Story, siskinv1.PhaseSucceeded, time.Minute)
	}
	deploy(apps[0], "1.1.0")
	endsAs(apps[0].Story, siskinv1.PhaseSucceeded, time.Minute)
	for _, a := range apps {
		sum := a.NobodyFailed("users of "+a.App.Name, a.users, time.Time{})
		for version := range sum.ByVersion {
			if !strings.HasSuffix(version, "-"+a.App.Name) {
				t.Errorf("users of %s were answered by %s: %v", a.App.Name, version, sum.ByVersion)
			}
		}
		if a.App.Name != "blue" && sum.ByVersion["1.1.0-"+a.App.Name] == 0 {
			t.Errorf("nobody saw the new version of %s: %v", a.App.Name, sum.ByVersion)
		}
	}
}
