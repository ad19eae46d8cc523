package canary

import (
	"slices"
	"testing"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Whatever two Canaries claim both, one look-up by the keys of one finds the other.
func TestCanariesThatClaimTheSameShareAKey(t *testing.T) {
	names := []string{"web", "web-primary", "web-canary", "web-primary-canary", "web-canary-primary", "shop", "shop-primary", "-primary", "primary"}
	var all []*siskinv1.Canary
	for _, target := range names {
		for _, apex := range append(names, "") {
			for _, kind := range []string{"Deployment", "Service"} {
				c := &siskinv1.Canary{}
				c.Spec.TargetRef = siskinv1.TargetRef{Kind: kind, Name: target}
				c.Spec.Service.Name = apex
				all = append(all, c)
			}
		}
	}
	common := func(a, b *siskinv1.Canary) bool {
		return slices.ContainsFunc(claims(a), func(one claim) bool { return slices.Contains(claims(b), one) })
	}
	found := 0
	for _, a := range all {
		for _, b := range all {
			if !common(a, b) {
				continue
			}
			found++
			if !slices.ContainsFunc(claimKeys(a), func(key string) bool { return slices.Contains(claimKeys(b), key) }) {
				t.Errorf("%v and %v claim the same, but have no key in common: %v, %v", claims(a), claims(b), claimKeys(a), claimKeys(b))
			}
		}
	}
	if found == 0 {
		t.Error("no two Canaries claim the same")
	}
}
