package observe_test

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
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

// People choose among the kept revisions: newest first, and none whose configuration was not copied.
func TestKeptRevisions(t *testing.T) {
	config := &target.Config{Items: []target.Item{{Kind: "Secret", Name: "keys", Hash: "abc", Copy: "keys-abc"}}}
	w := &observe.World{Canary: canary(), Snapshots: map[string]*appsv1.ControllerRevision{}}
	for i, r := range []struct {
		name, copied string
		config       *target.Config
	}{
		{name: "first"}, {name: "copied", config: config, copied: "true"}, {name: "half", config: config}, {name: "last"},
	} {
		cr, err := target.Snapshot(w.Canary, r.name, int64(i+9), target.Revision{Config: r.config})
		if err != nil {
			t.Fatal(err)
		}
		if r.copied != "" {
			cr.Annotations = map[string]string{siskinv1.CopiedAnnotation: r.copied}
		}
		w.Snapshots[r.name] = cr
	}
	w.Snapshots["broken"] = &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "broken"}, Data: runtime.RawExtension{Raw: []byte("{")}}
	for request, want := range map[string]string{"rollback@1": "last copied first", "": "last half copied first broken"} {
		w.Canary.Annotations = map[string]string{siskinv1.RequestAnnotation: request}
		got := (&observe.Observer{}).Snapshot(w, plan.Spec{}, now, time.Time{}).Kept
		if strings.Join(got, " ") != want {
			t.Errorf("asked for %q: kept %v, want %s", request, got, want)
		}
	}
}
