package observe

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// IntentOf returns the routing that a state asks for.
func (w *World) IntentOf(z plan.State) router.Intent {
	if z.Split == (plan.Split{}) {
		z.Split = plan.AllPrimary()
	}
	in := intent(w.Canary)
	in.Port, in.Split = w.Intent.Port, router.Split(z.Split)
	in.PrimaryPorts, in.CanaryPorts, in.Lent = w.Intent.PrimaryPorts, w.Intent.CanaryPorts, w.Intent.Lent
	st := &w.Canary.Status
	switch a := w.Canary.Spec.Analysis.SessionAffinity; {
	case a == nil:
	case z.Split.Canary > 0 && z.Split.Primary > 0:
		in.Affinity = affinity(w.Canary, *a, z)
	case st.SessionAffinityCookie != "" || st.PreviousSessionAffinityCookie != "": // nobody had a cookie before
		in.Expired = a
	}
	return in
}

// Cookies returns the cookies of the canary's and of the primary's users as status shows them, "name=value"; "" if
// there are none.
func (w *World) Cookies(z plan.State) (canary, primary string) {
	a := w.IntentOf(z).Affinity
	if a == nil {
		return "", ""
	}
	if a.PrimaryCookieName != "" {
		primary = a.PrimaryCookieName + "=" + a.PrimaryToken
	}
	return a.CookieName + "=" + a.Token, primary
}

func intent(c *siskinv1.Canary) router.Intent {
	apex := service.ApexName(c)
	return router.Intent{
		Owner: c, Apex: apex, Primary: apex + "-primary", Canary: apex + "-canary", Audience: c.Spec.Analysis.Match,
		Split: router.Split{Primary: 100},
	}
}

// affinity has tokens that nobody can guess who does not see the cluster, and that no other rollout has: not even one of the same
// revision, of a Canary that was made anew, or the same one when its steps began anew.
func affinity(c *siskinv1.Canary, a siskinv1.SessionAffinity, z plan.State) *router.Affinity {
	trial := z.Candidate
	if z.Restarts > 0 {
		trial = fmt.Sprintf("%s~%d", trial, z.Restarts)
	}
	out := &router.Affinity{
		SessionAffinity: a,
		Token:           token(c, z.Rollout, trial),
		PrimaryToken:    token(c, z.Rollout, trial, z.Step),
	}
	if a.PrimaryCookieName == "" {
		return out
	}
	all, _ := steps(c.Spec.Analysis, DefaultInterval) // an edit that cannot be used is told elsewhere
	for i := min(z.Step-1, len(all)); i > 0; i-- {
		if w := all[i-1].Weight; w > 0 && w < 100 {
			out.Earlier = append(out.Earlier, router.Draw{PrimaryToken: token(c, z.Rollout, trial, i), Canary: w})
		}
	}
	return out
}

func token(c *siskinv1.Canary, parts ...any) string {
	sum := sha256.Sum256([]byte(string(c.UID) + "/" + fmt.Sprintln(parts...)))
	return hex.EncodeToString(sum[:10])
}

// Widest returns an intent with all that a rollout of this Canary will ever ask of its router: what cannot be written is to be told
// before it begins.
func Widest(c *siskinv1.Canary) router.Intent {
	in := intent(c)
	a := c.Spec.Analysis
	if c.Spec.SkipAnalysis {
		return in
	}
	in.Split.Audience = len(a.Match) > 0
	in.Split.Mirror = mirror(a)
	if weighted(a) {
		in.Split.Primary, in.Split.Canary = 50, 50
	}
	if a.SessionAffinity != nil && weighted(a) {
		in.Affinity = affinity(c, *a.SessionAffinity, plan.State{})
	}
	return in
}
