package gatewayapi_test

import (
	"errors"
	"strings"
	"testing"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// An audience by a cookie whose name, or value, ends as the affinity's is no user who is kept: what is read of its rule, and what is left
// of it after an edit that cannot be written, must not mix the two up.
func TestAnAudienceByACookieWithAnAlikeName(t *testing.T) {
	for name, audience := range map[string]siskinv1.RequestMatch{
		"a longer name":     one("cookie", "x-canary", exact("yes")),
		"in the value":      one("cookie", "a", exact("canary=0123")),
		"in a regex":        one("cookie", "a", regex("(b-)?canary=[0-9]+")),
		"in another header": one("header", "X-Cookie", exact("canary=0123")),
		"the raw header":    one("header", "Cookie", exact("canary=0123")),
		"in another order":  merge(one("cookie", "a", exact("1")), one("cookie", "x-canary", exact("yes"))),
	} {
		t.Run(name, func(t *testing.T) {
			h, c := capable(t)
			r, in := h.New(c, c), intent(nil)
			in.Owner.Spec.Analysis.SessionAffinity = &siskinv1.SessionAffinity{CookieName: "canary"}
			in.Split, in.Audience = router.Split{Primary: 80, Canary: 20, Audience: true}, []siskinv1.RequestMatch{audience}
			if _, err := r.Apply(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			next := in
			next.Split = router.Split{Primary: 50, Canary: 50, Audience: true}
			if obs, err := r.Observe(t.Context(), next); err != nil || obs.Current != in.Split {
				t.Errorf("the audience is read as %+v (%v)", obs.Current, err)
			}
			next.Owner.Spec.Service.Hosts = []string{"no host"}
			next.Split = router.Split{Primary: 60, Canary: 40, Audience: true}
			if _, err := r.Apply(t.Context(), next); err == nil {
				t.Error("the edit is not told")
			}
			if rules := get(t, c).Spec.Rules; len(rules) != 2 {
				t.Errorf("the audience's rule is gone: %+v", rules)
			}
		})
	}
}

// Users who are kept are told from an audience also where their cookie stands beside the service's own.
func TestUsersWhoAreKeptBesideTheServicesCookies(t *testing.T) {
	h, c := capable(t)
	r, in := h.New(c, c), intent(func(s *siskinv1.CanaryService) {
		s.Match = []siskinv1.RequestMatch{merge(one("cookie", "a", exact("1")), one("cookie", "z", exact("1")))}
	})
	in.Affinity = &router.Affinity{SessionAffinity: siskinv1.SessionAffinity{CookieName: "canary"}, Token: "0123"}
	in.Split = router.Split{Primary: 80, Canary: 20}
	if _, err := r.Apply(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	next := in
	next.Split = router.Split{Primary: 50, Canary: 50}
	if obs, err := r.Observe(t.Context(), next); err != nil || obs.Current != in.Split {
		t.Errorf("read as %+v (%v)", obs.Current, err)
	}
}

// Whoever vouches for a feature that does not exist has made a slip, which must not look like an answer.
func TestVouchingForNoFeature(t *testing.T) {
	h, c := capable(t)
	r, in := h.New(c, c), intent(nil)
	in.Owner.Annotations = map[string]string{siskinv1.FeaturesAnnotation: "HTTPRouteRequestMirror, ,HTTPRouteQueryParamMatching"}
	if err := r.Validate(in); err != nil {
		t.Errorf("features: %v", err)
	}
	in.Owner.Annotations[siskinv1.FeaturesAnnotation] = "HTTPRouteRequestMirror,mirror"
	refused, ok := errors.AsType[*router.InvalidError](r.Validate(in))
	if !ok || refused.Field != "metadata.annotations[siskin.dev/gateway-features]" || !strings.Contains(refused.Message, `"mirror"`) {
		t.Errorf("no feature: %v", refused)
	}
}
