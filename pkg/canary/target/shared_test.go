package target_test

import (
	"testing"

	"github.com/siskin-dev/siskin/pkg/canary/target"
)

// A peer names its copies after the ConfigMap alone, so that two Canaries overwrite each other's promoted configuration (W22 in
// docs/flagger.md).
func TestW22CanariesThatShareAConfigMapHaveCopiesOfTheirOwn(t *testing.T) {
	for _, kind := range []string{"ConfigMap", "Secret"} {
		ref := target.Ref{Kind: kind, Name: "settings"}
		web, api := target.Track("web", ref, "h1"), target.Track("api", ref, "h1")
		if web.Copy == api.Copy || web.Copy == ref.Name || api.Copy == ref.Name {
			t.Errorf("%s: the copies are %s and %s", kind, web.Copy, api.Copy)
		}
		if again, next := target.Track("web", ref, "h1"), target.Track("web", ref, "h2"); again.Copy != web.Copy || next.Copy == web.Copy {
			t.Errorf("%s: the same content is copied to %s, another to %s", kind, again.Copy, next.Copy)
		}
	}
}
