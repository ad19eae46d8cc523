package nginx

import (
	"math"
	"strconv"
	"strings"

	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// state is what of an Ingress decides who is led where. Foreign annotations among these decide too, and are none that may stay.
type state struct {
	Class   string                `json:"class,omitempty"`
	Legacy  string                `json:"legacy,omitempty"`
	Rules   []netv1.IngressRule   `json:"rules,omitempty"`
	Default *netv1.IngressBackend `json:"default,omitempty"`
	Notes   map[string]string     `json:"notes,omitempty"`
}

func stateOf(ingress *netv1.Ingress, in router.Intent) state {
	out := state{
		Class: class(ingress), Legacy: ingress.Annotations[legacyClass], Rules: ingress.Spec.Rules, Default: ingress.Spec.DefaultBackend,
		Notes: notes(ingress, in),
	}
	return out
}

// notes are the annotations about canaries, without their prefix.
func notes(ingress *netv1.Ingress, in router.Intent) map[string]string {
	out := map[string]string{}
	for key, value := range ingress.Annotations {
		if name, ok := strings.CutPrefix(key, prefix(in.Owner)); ok && strings.HasPrefix(name, noteCanary) {
			out[name] = value
		}
	}
	return out
}

func class(ingress *netv1.Ingress) string {
	if ingress.Spec.IngressClassName == nil {
		return ""
	}
	return *ingress.Spec.IngressClassName
}

// same tells whether live leads everybody where want does.
func same(live, want *netv1.Ingress, in router.Intent) bool {
	l, w := stateOf(live, in), stateOf(want, in)
	if w.Class == "" && l.Class != DisabledClass { // the API server gives one that has none the default class
		l.Class = ""
	}
	return equality.Semantic.DeepEqual(l, w)
}

// foreign tells whether an Ingress of this Canary is not as Siskin left it.
func foreign(live *netv1.Ingress, in router.Intent) bool {
	left, sealed := live.Annotations[siskinv1.WrittenAnnotation]
	if !sealed {
		return metav1.IsControlledBy(live, in.Owner)
	}
	have, err := owned.Digest(stateOf(live, in))
	return err == nil && have != left
}

// current is the split that the canary Ingress states. What may get any request never counts as getting none, and one that has not
// all never as having all.
func current(live *netv1.Ingress, in router.Intent) router.Split {
	n := notes(live, in)
	leads := len(paths(live.Spec.Rules, []string{in.Canary}, "")) > 0 || backend(live.Spec.DefaultBackend, []string{in.Canary}, "") != nil
	switch {
	case class(live) == DisabledClass || !leads:
		return router.Split{Primary: total}
	case n[noteCanary] != "true": // an Ingress as any other: the older of the two gets all
		return router.Split{Canary: total}
	}
	canary := share(number(n[noteWeight], 0), number(n[noteTotal], total))
	return router.Split{Primary: total - canary, Canary: canary, Audience: n[noteHeader] != "" || n[noteCookie] != ""}
}

// share is a weight in percent.
func share(weight, of float64) int32 {
	of = math.Max(of, total)
	weight = math.Min(math.Max(weight, 0), of)
	percent := int32(math.Ceil(weight * total / of))
	if weight < of {
		percent = min(percent, total-1)
	}
	return percent
}

// number is a number in an annotation. One that cannot be read counts for the controller as its default.
func number(text string, otherwise float64) float64 {
	n, err := strconv.Atoi(text)
	if err != nil {
		return otherwise
	}
	return float64(n)
}
