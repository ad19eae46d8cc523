package scaler

import (
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// mostDefault is what KEDA takes for a missing maxReplicaCount.
const mostDefault = 100

const fieldIdle = "idleReplicaCount"

// windowDefault is Kubernetes' own, of kube-controller-manager's --horizontal-pod-autoscaler-downscale-stabilization.
const windowDefault = 5 * time.Minute

// Window is how long the autoscaler looks back before it takes pods away: it goes by the most that it wanted meanwhile.
func (s *Scaler) Window() time.Duration {
	path := []string{"spec", "behavior", "scaleDown", "stabilizationWindowSeconds"}
	if s.obj.GetKind() == KindScaledObject {
		path = append([]string{"spec", "advanced", "horizontalPodAutoscalerConfig"}, path[1:]...)
	}
	if n, ok, err := unstructured.NestedInt64(s.obj.Object, path...); ok && err == nil {
		return time.Duration(n) * time.Second
	}
	return windowDefault
}

// limits of an autoscaler; nil is a field that is not there.
type limits struct{ min, max *int64 }

// fields are the names of min and max in the spec of a kind.
func fields(kind string) (least, most string) {
	if kind == KindScaledObject {
		return "minReplicaCount", "maxReplicaCount"
	}
	return "minReplicas", "maxReplicas"
}

func number(obj *unstructured.Unstructured, field string) (int64, bool) {
	n, ok, err := unstructured.NestedInt64(obj.Object, "spec", field)
	return n, ok && err == nil
}

func pointer(n int64, ok bool) *int64 {
	if !ok {
		return nil
	}
	return &n
}

// read returns the limits that obj has.
func read(obj *unstructured.Unstructured) limits {
	least, most := fields(obj.GetKind())
	return limits{pointer(number(obj, least)), pointer(number(obj, most))}
}

// write gives obj the limits.
func (l limits) write(obj *unstructured.Unstructured) {
	least, most := fields(obj.GetKind())
	for field, n := range map[string]*int64{least: l.min, most: l.max} {
		if n == nil {
			unstructured.RemoveNestedField(obj.Object, "spec", field)
			continue
		}
		_ = unstructured.SetNestedField(obj.Object, *n, "spec", field) // spec is a map: it was read from there
	}
}

// String is "min-max", as annotations keep it; what is not there is left out.
func (l limits) String() string {
	text := func(n *int64) string {
		if n == nil {
			return ""
		}
		return strconv.FormatInt(*n, 10)
	}
	return text(l.min) + "-" + text(l.max)
}

// parse reads what String wrote.
func parse(text string) (limits, bool) {
	left, right, ok := strings.Cut(text, "-")
	if !ok {
		return limits{}, false
	}
	var l limits
	for _, side := range []struct {
		text string
		into **int64
	}{{left, &l.min}, {right, &l.max}} {
		if side.text == "" {
			continue
		}
		n, err := strconv.ParseInt(side.text, 10, 64)
		if err != nil || n < 0 {
			return limits{}, false
		}
		*side.into = &n
	}
	return l, true
}

// wish returns the limits that the user wants: those in the object, where they are not as Siskin wrote them last, else those that
// were noted.
func (s *Scaler) wish() limits {
	live, notes := read(s.obj), s.obj.GetAnnotations()
	wish, ok := parse(notes[siskinv1.LimitsAnnotation])
	held, ok2 := parse(notes[siskinv1.LimitsHeldAnnotation])
	if !ok || !ok2 {
		return live
	}
	if !same(live.min, held.min) {
		wish.min = live.min
	}
	if !same(live.max, held.max) {
		wish.max = live.max
	}
	return wish
}

func same(a, b *int64) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// override returns the limits with those that the spec gives.
func (l limits) override(with *siskinv1.ScalerReplicas) limits {
	if with == nil {
		return l
	}
	if n := with.MinReplicas; n != nil {
		l.min = new(int64(*n))
	}
	if n := with.MaxReplicas; n != nil {
		l.max = new(int64(*n))
	}
	return l
}

// above returns the limits with a minimum of at least floor, and a maximum that is not below the minimum.
func (l limits) above(floor int64) limits {
	if floor > 0 && (l.min == nil || *l.min < floor) {
		l.min = &floor
	}
	if l.min == nil {
		return l
	}
	if most := l.max; (most == nil && *l.min > mostDefault) || (most != nil && *most < *l.min) {
		l.max = new(*l.min)
	}
	return l
}
