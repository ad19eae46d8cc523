package observe_test

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

func sticky(c *siskinv1.Canary) {
	c.UID = "one"
	c.Spec.Analysis.SessionAffinity = &siskinv1.SessionAffinity{CookieName: "web", PrimaryCookieName: "web-primary"}
}

// W24 : a restart or a conflict reshuffles no users, and an old cookie counts for nothing: tokens are new in each rollout, those of the primary in each step; and nobody can guess them.
func TestW24TokensAreMadeOfWhatIsStored(t *testing.T) {
	base := plan.State{Rollout: 3, Candidate: "web-0a1b2c", Step: 2, Split: plan.ToCanary(20)}
	tokens := func(edit func(*plan.State), edits ...func(*siskinv1.Canary)) *router.Affinity {
		z := base
		edit(&z)
		p := newPlace(t, canary(append([]func(*siskinv1.Canary){sticky}, edits...)...))
		return p.world(t).IntentOf(z).Affinity
	}
	same := func(*plan.State) {}
	was := tokens(same)
	if diff := cmp.Diff(was, tokens(same)); diff != "" {
		t.Errorf("the same state has other tokens: %s", diff)
	}
	for _, token := range []string{was.Token, was.PrimaryToken} {
		if !regexp.MustCompile(`^[0-9a-f]{20}$`).MatchString(token) {
			t.Errorf("token %q", token)
		}
	}
	for name, tt := range map[string]struct {
		now             *router.Affinity
		canary, primary bool // stays
	}{
		"the next step":        {tokens(func(z *plan.State) { z.Step, z.Split = 3, plan.ToCanary(50) }), true, false},
		"the next rollout":     {tokens(func(z *plan.State) { z.Rollout = 4 }), false, false},
		"another revision":     {tokens(func(z *plan.State) { z.Candidate = "web-ffffff" }), false, false},
		"a Canary made anew":   {tokens(same, func(c *siskinv1.Canary) { c.UID = "two" }), false, false},
		"steps begun anew":     {tokens(func(z *plan.State) { z.Restarts = 1 }), false, false},
		"a check that failed":  {tokens(func(z *plan.State) { z.Attempt, z.FailedChecks = 7, 1 }), true, true},
		"rollout 31, step 2":   {tokens(func(z *plan.State) { z.Rollout, z.Step = 31, 2 }), false, false},
		"rollout 3, step 12":   {tokens(func(z *plan.State) { z.Step = 12 }), true, false},
		"a cookie of its name": {tokens(same, func(c *siskinv1.Canary) { c.Spec.Analysis.SessionAffinity.MaxAge = new(int32(7)) }), true, true},
	} {
		if (tt.now.Token == was.Token) != tt.canary || (tt.now.PrimaryToken == was.PrimaryToken) != tt.primary {
			t.Errorf("%s: %+v, before %+v", name, tt.now, was)
		}
	}
	for _, split := range []plan.Split{plan.AllPrimary(), {Canary: 100}} {
		if a := tokens(func(z *plan.State) { z.Split = split }); a != nil {
			t.Errorf("at %s users are kept: %+v", split, a)
		}
	}
}

// What a rollout will ever ask is asked before it begins.
func TestWidest(t *testing.T) {
	for name, tt := range map[string]struct {
		edit  func(*siskinv1.Canary)
		split router.Split
		kept  bool
	}{
		"weights":      {func(*siskinv1.Canary) {}, router.Split{Primary: 50, Canary: 50}, false},
		"sticky users": {sticky, router.Split{Primary: 50, Canary: 50}, true},
		"a mirror":     {analysis(func(a *siskinv1.CanaryAnalysis) { a.Mirror, a.MirrorWeight = true, new(int32(5)) }), router.Split{Primary: 50, Canary: 50, Mirror: 5}, false},
		"A/B": {analysis(func(a *siskinv1.CanaryAnalysis) {
			*a = siskinv1.CanaryAnalysis{Iterations: new(int32(3)), Match: routertest.Audience()}
		}), router.Split{Primary: 100, Audience: true}, false},
		"blue/green":    {analysis(func(a *siskinv1.CanaryAnalysis) { *a = siskinv1.CanaryAnalysis{Iterations: new(int32(3))} }), router.Split{Primary: 100}, false},
		"no analysis":   {func(c *siskinv1.Canary) { sticky(c); c.Spec.SkipAnalysis = true }, router.Split{Primary: 100}, false},
		"match, weight": {analysis(func(a *siskinv1.CanaryAnalysis) { a.Match = routertest.Audience() }), router.Split{Primary: 50, Canary: 50, Audience: true}, false},
	} {
		in := observe.Widest(canary(tt.edit))
		if in.Split != tt.split || in.Sticky() != tt.kept || in.Split.Audience && len(in.Audience) == 0 || in.Apex != "web" || in.Canary != "web-canary" {
			t.Errorf("%s: %+v", name, in)
		}
	}
}
