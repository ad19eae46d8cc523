package upgrade

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// kinds are all that Siskin might write, and what follows from it.
func kinds() []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, s := range []string{
		"siskin.dev/v1/Canary", "siskin.dev/v1/MetricTemplate", "siskin.dev/v1/AlertProvider", "siskin.dev/v1/GitSync",
		"apps/v1/Deployment", "apps/v1/ReplicaSet", "apps/v1/DaemonSet", "apps/v1/StatefulSet", "apps/v1/ControllerRevision",
		"/v1/Service", "/v1/ConfigMap", "/v1/Secret", "/v1/Pod", "discovery.k8s.io/v1/EndpointSlice",
		"gateway.networking.k8s.io/v1/HTTPRoute", "autoscaling/v2/HorizontalPodAutoscaler", "keda.sh/v1alpha1/ScaledObject",
		"events.k8s.io/v1/Event",
	} {
		parts := strings.Split(s, "/")
		out = append(out, schema.GroupVersionKind{Group: parts[0], Version: parts[1], Kind: parts[2]})
	}
	return out
}

// world is every object of the namespaces, by kind, namespace and name.
type world map[string]*unstructured.Unstructured

// look reads the world.
func look(ctx context.Context, e *fixtures.Env, namespaces []string) (world, error) {
	w := world{}
	for _, gvk := range kinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		if err := e.API.List(ctx, list); err != nil {
			return nil, fmt.Errorf("listing %s: %w", gvk.Kind, err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			if slices.Contains(namespaces, o.GetNamespace()) && !othersEvent(o) {
				w[gvk.Kind+" "+o.GetNamespace()+"/"+o.GetName()] = o
			}
		}
	}
	return w, nil
}

// othersEvent tells whether an object is an event about what is no Canary.
func othersEvent(o *unstructured.Unstructured) bool {
	about, _, _ := unstructured.NestedString(o.Object, "regarding", "kind")
	return o.GetKind() == "Event" && about != "Canary"
}

// versions are the resourceVersions, as one string to compare.
func (w world) versions() string {
	var out []string
	for k, o := range w {
		out = append(out, k+"@"+o.GetResourceVersion())
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// write is one difference between two worlds.
type write struct {
	object, kind, path, text string
	// midway tells that it is about a Canary in a rollout.
	midway bool
}

// since lists what has changed since before. An object whose version alone moved counts too.
func (w world) since(before world) []write {
	var out []write
	for k, o := range w {
		old, ok := before[k]
		switch {
		case !ok:
			out = append(out, write{object: k, kind: o.GetKind(), path: "created", text: note(o)})
		case old.GetResourceVersion() != o.GetResourceVersion():
			n := len(out)
			differ("", old.Object, o.Object, func(path, text string) {
				out = append(out, write{object: k, kind: o.GetKind(), path: path, text: text, midway: midway(old)})
			})
			if len(out) == n {
				out = append(out, write{object: k, kind: o.GetKind(), path: "resourceVersion", text: "a write that changed nothing"})
			}
		}
	}
	for k, old := range before {
		if w[k] == nil {
			out = append(out, write{object: k, kind: old.GetKind(), path: "deleted"})
		}
	}
	slices.SortFunc(out, func(a, b write) int { return strings.Compare(a.object+a.path, b.object+b.path) })
	return out
}

// note is what an event says.
func note(o *unstructured.Unstructured) string {
	out, _, _ := unstructured.NestedString(o.Object, "note")
	return out
}

// midway tells whether an object is a Canary in a rollout.
func midway(o *unstructured.Unstructured) bool {
	phase, _, _ := unstructured.NestedString(o.Object, "status", "phase")
	return o.GetKind() == "Canary" && going(siskinv1.Phase(phase))
}

// going tells whether a rollout goes on in a phase.
func going(p siskinv1.Phase) bool {
	switch p {
	case siskinv1.PhaseWaiting, siskinv1.PhaseProgressing, siskinv1.PhaseWaitingPromotion, siskinv1.PhasePromoting, siskinv1.PhaseFinalising,
		siskinv1.PhaseFrozen, siskinv1.PhaseBaking, siskinv1.PhaseRollingBack:
		return true
	}
	return false
}

// differ tells every path in which two values differ, but for what every write changes.
func differ(path string, a, b any, tell func(path, text string)) {
	if path == ".metadata.resourceVersion" || path == ".metadata.managedFields" || path == ".metadata.generation" {
		return
	}
	if strings.HasSuffix(path, ".conditions") {
		a, b = byType(a), byType(b)
	}
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if !aok || !bok {
		if !reflect.DeepEqual(a, b) {
			tell(path, fmt.Sprintf("%v -> %v", a, b))
		}
		return
	}
	names := map[string]bool{}
	for k := range am {
		names[k] = true
	}
	for k := range bm {
		names[k] = true
	}
	for k := range names {
		differ(path+"."+k, am[k], bm[k], tell)
	}
}

// byType makes a map of a list of conditions, so that each can be named.
func byType(v any) any {
	list, _ := v.([]any)
	out := map[string]any{}
	for _, c := range list {
		m, ok := c.(map[string]any)
		name, named := m["type"].(string)
		if !ok || !named {
			return v
		}
		out[name] = m
	}
	return out
}

// allowed are the writes that the change log names.
type allowed []entry

// entry is a kind, and a path or "created" or "deleted"; midway: only in a rollout.
type entry struct {
	kind, path string
	midway     bool
}

var line = regexp.MustCompile("^- `([A-Za-z]+)` `([^`]+)`( \\(in a rollout\\))?: ")

// readAllowed reads the list between the marks of the change log.
func readAllowed(t *testing.T, path string) allowed {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "<!-- writes after an upgrade: begin -->")
	list, _, ended := strings.Cut(rest, "<!-- writes after an upgrade: end -->")
	if !ok || !ended {
		t.Fatalf("%s has no list of writes after an upgrade", path)
	}
	var out allowed
	for l := range strings.Lines(list) {
		if m := line.FindStringSubmatch(l); m != nil {
			out = append(out, entry{m[1], m[2], m[3] != ""})
		} else if strings.HasPrefix(l, "-") {
			t.Errorf("%s: %q is no line of the list: - `Kind` `.path` (in a rollout): why", path, l)
		}
	}
	return out
}

// judge returns the writes that are named, and what is wrong: a write that is not, and an entry of which nothing was written.
func (a allowed) judge(writes []write) (named, wrong []string) {
	written := make([]bool, len(a))
	for _, w := range writes {
		text := fmt.Sprintf("%s %s %s", w.object, w.path, w.text)
		i := slices.IndexFunc(a, func(x entry) bool { return x.names(w) })
		if i < 0 {
			wrong = append(wrong, "a write that the change log does not name: "+text)
			continue
		}
		written[i] = true
		named = append(named, text)
	}
	for i, x := range a {
		if !written[i] {
			wrong = append(wrong, fmt.Sprintf("the change log names what was not written: `%s` `%s` (in a rollout: %t): take it out, or add the Canary to states_test.go for which it is",
				x.kind, x.path, x.midway))
		}
	}
	return named, wrong
}

// names tells whether an entry is about a write.
func (x entry) names(w write) bool {
	return x.kind == w.kind && (w.midway || !x.midway) && (x.path == w.path || strings.HasPrefix(w.path, x.path+"."))
}

// TestJudge : conditions are compared one by one, whatever their order; what is named only in a rollout is not named otherwise.
func TestJudge(t *testing.T) {
	canary := func(version, phase string, step int64, conditions ...any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"kind": "Canary", "metadata": map[string]any{"resourceVersion": version},
			"status": map[string]any{"phase": phase, "step": map[string]any{"attempt": step}, "conditions": conditions},
		}}
	}
	ready, promoted := map[string]any{"type": "Ready", "status": "True"}, map[string]any{"type": "Promoted", "status": "True"}
	unknown := map[string]any{"type": "Promoted", "status": "Unknown"}
	list := allowed{{"Canary", ".status.step", true}, {"Canary", ".status.conditions.Promoted", false}}
	for name, tt := range map[string]struct {
		is    *unstructured.Unstructured
		named []string
		wrong int
	}{
		"all that is named":  {canary("2", "Progressing", 2, unknown, ready), []string{"c .status.conditions.Promoted.status True -> Unknown", "c .status.step.attempt 1 -> 2"}, 0},
		"an entry unused":    {canary("2", "Progressing", 2, promoted, ready), []string{"c .status.step.attempt 1 -> 2"}, 1},
		"a write of nothing": {canary("2", "Progressing", 1, ready, promoted), nil, 3},
		"another phase":      {canary("2", "Failed", 2, ready, unknown), []string{"c .status.conditions.Promoted.status True -> Unknown", "c .status.step.attempt 1 -> 2"}, 1},
		"another condition":  {canary("2", "Progressing", 2, unknown), []string{"c .status.conditions.Promoted.status True -> Unknown", "c .status.step.attempt 1 -> 2"}, 1},
		"no write":           {canary("1", "Progressing", 1, ready, promoted), nil, 2},
		"deleted":            {nil, nil, 3},
	} {
		t.Run(name, func(t *testing.T) {
			after := world{"c": tt.is}
			if tt.is == nil {
				after = world{}
			}
			named, wrong := list.judge(after.since(world{"c": canary("1", "Progressing", 1, ready, promoted)}))
			if !slices.Equal(named, tt.named) || len(wrong) != tt.wrong {
				t.Errorf("named %q, wrong %q", named, wrong)
			}
		})
	}
	atRest := world{"c": canary("1", "Failed", 1, ready)}
	if named, wrong := list.judge((world{"c": canary("2", "Failed", 2, ready)}).since(atRest)); len(named) > 0 || len(wrong) != 3 {
		t.Errorf("a step of what is at rest: named %q, wrong %q", named, wrong)
	}
}
