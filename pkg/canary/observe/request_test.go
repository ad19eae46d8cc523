package observe_test

import (
	"strings"
	"testing"
	"time"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
)

func TestRequests(t *testing.T) {
	for name, tc := range map[string]struct {
		reason              string
		request, by         string
		wantRequest, wantBy string
	}{
		"none":       {"nobody asks for anything", "", "", "", ""},
		"one":        {"as it was written", "abort@1", "ann", "abort@1", "ann"},
		"blanks":     {"they make no new request of an old one", " abort@1\n", "ann ", "abort@1", "ann"},
		"lines":      {"texts for people are one line", "stop\nnow", "a\nb", "stop now", "a b"},
		"very long":  {"status echoes it", strings.Repeat("x", 5000), strings.Repeat("y", 5000), strings.Repeat("x", 512), strings.Repeat("y", 512)},
		"long words": {"the API server takes only UTF-8", "x" + strings.Repeat("ä", 500), "", "x" + strings.Repeat("ä", 255), ""},
	} {
		w := &observe.World{Canary: canary(func(c *siskinv1.Canary) {
			c.Annotations = map[string]string{siskinv1.RequestAnnotation: tc.request, siskinv1.RequestedByAnnotation: tc.by}
		})}
		s := (&observe.Observer{}).Snapshot(w, plan.Spec{}, now, time.Time{})
		if s.Request != tc.wantRequest || s.RequestedBy != tc.wantBy {
			t.Errorf("%s: %s: %q by %q", name, tc.reason, s.Request, s.RequestedBy)
		}
	}
}
