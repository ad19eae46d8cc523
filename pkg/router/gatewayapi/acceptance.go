package gatewayapi

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/siskin-dev/siskin/pkg/metrics/meter"
)

// Reasons of an Observation that are Siskin's own; others are the gateway controller's.
const (
	// ReasonRouteMissing : there is no HTTPRoute.
	ReasonRouteMissing = "RouteMissing"
	// ReasonForeignRoute : the HTTPRoute of that name is not Siskin's.
	ReasonForeignRoute = "ForeignRoute"
	// ReasonRouteDeleted : the adopted HTTPRoute is being deleted, and another one is to take its place.
	ReasonRouteDeleted = "RouteDeleted"
	// ReasonBridged : the HTTPRoute that carried the traffic meanwhile is still there.
	ReasonBridged = "RouteBridged"
	// ReasonSpecDiffers : somebody else wrote into the HTTPRoute.
	ReasonSpecDiffers = "SpecDiffers"
	// ReasonNotReconciled : no controller has answered for a parent yet.
	ReasonNotReconciled = "NotReconciled"
	// ReasonStaleGeneration : the controller has answered for an older generation only.
	ReasonStaleGeneration = "StaleGeneration"
)

// verdict is what one controller says of one parent, or all of them together.
type verdict struct {
	accepted        bool
	reason, message string
	rejected        bool
}

// accepted tells whether every parent of the route took this generation of it. Several controllers may answer for one parent;
// the worst answer counts, a refusal before a wait.
func accepted(route *gatewayv1.HTTPRoute) verdict {
	out := verdict{accepted: true}
	worse := func(v verdict) {
		if (out.accepted && !v.accepted) || (!out.rejected && v.rejected) {
			out = v
		}
	}
	if len(route.Spec.ParentRefs) == 0 {
		return verdict{reason: ReasonNotReconciled, message: "The HTTPRoute has no parent."}
	}
	for _, ref := range route.Spec.ParentRefs {
		answered := false
		for i := range route.Status.Parents {
			parent := &route.Status.Parents[i]
			if sameParent(route.Namespace, ref, parent.ParentRef) {
				answered = true
				worse(answer(route.Generation, ref, parent))
			}
		}
		if !answered {
			worse(verdict{reason: ReasonNotReconciled, message: fmt.Sprintf("No controller has answered for %s yet.", describe(ref))})
		}
	}
	return out
}

// answer judges one entry of the status.
func answer(generation int64, ref gatewayv1.ParentReference, parent *gatewayv1.RouteParentStatus) verdict {
	if partial := meta.FindStatusCondition(parent.Conditions, string(gatewayv1.RouteConditionPartiallyInvalid)); partial != nil &&
		partial.Status == metav1.ConditionTrue {
		return refusal(ref, parent, partial, partial.ObservedGeneration == generation)
	}
	for _, kind := range []gatewayv1.RouteConditionType{gatewayv1.RouteConditionAccepted, gatewayv1.RouteConditionResolvedRefs} {
		c := meta.FindStatusCondition(parent.Conditions, string(kind))
		switch {
		case c == nil:
			return verdict{reason: ReasonNotReconciled, message: fmt.Sprintf("%s has not told yet whether %s is %s.", parent.ControllerName, describe(ref), kind)}
		case c.ObservedGeneration != generation:
			return verdict{reason: ReasonStaleGeneration, message: fmt.Sprintf("%s has seen generation %d of %d for %s.",
				parent.ControllerName, c.ObservedGeneration, generation, describe(ref))}
		case c.Status != metav1.ConditionTrue:
			return refusal(ref, parent, c, c.Status == metav1.ConditionFalse && final(kind, c.Reason))
		}
	}
	return verdict{accepted: true}
}

func refusal(ref gatewayv1.ParentReference, parent *gatewayv1.RouteParentStatus, c *metav1.Condition, rejected bool) verdict {
	return verdict{
		reason: c.Reason, rejected: rejected,
		message: fmt.Sprintf("%s says %s=%s for %s: %s", parent.ControllerName, c.Type, c.Status, describe(ref), c.Message),
	}
}

// final tells whether a reason goes away only when a person edits something. Pending and BackendNotFound go away by
// themselves; of reasons that are not in the standard nobody knows, so they are waited for.
func final(kind gatewayv1.RouteConditionType, reason string) bool {
	reasons := []gatewayv1.RouteConditionReason{gatewayv1.RouteReasonRefNotPermitted, gatewayv1.RouteReasonInvalidKind}
	if kind == gatewayv1.RouteConditionAccepted {
		reasons = []gatewayv1.RouteConditionReason{
			gatewayv1.RouteReasonNotAllowedByListeners, gatewayv1.RouteReasonNoMatchingListenerHostname,
			gatewayv1.RouteReasonNoMatchingParent, gatewayv1.RouteReasonUnsupportedValue, gatewayv1.RouteReasonIncompatibleFilters,
		}
	}
	return slices.Contains(reasons, gatewayv1.RouteConditionReason(reason))
}

// sameParent compares a reference with one that a controller may have filled in.
func sameParent(namespace string, x, y gatewayv1.ParentReference) bool {
	full := func(ref gatewayv1.ParentReference) gatewayv1.ParentReference {
		ref = defaulted(*ref.DeepCopy())
		if ref.Namespace == nil {
			ref.Namespace = new(gatewayv1.Namespace(namespace))
		}
		return ref
	}
	return equality.Semantic.DeepEqual(full(x), full(y))
}

// metricsKind is the data plane whose series tell of the split. When several carry the traffic, no one's do.
func metricsKind(route *gatewayv1.HTTPRoute) meter.Kind {
	var kind meter.Kind
	for _, parent := range route.Status.Parents {
		k := meter.App
		switch {
		case strings.HasPrefix(string(parent.ControllerName), "traefik.io/"):
			k = meter.Traefik
		case strings.HasPrefix(string(parent.ControllerName), "istio.io/"):
			k = meter.Istio
		}
		if kind != "" && kind != k {
			return meter.App
		}
		kind = k
	}
	if kind == "" {
		return meter.App
	}
	return kind
}

func describe(ref gatewayv1.ParentReference) string {
	ref = defaulted(*ref.DeepCopy())
	s := fmt.Sprintf("%s %s", *ref.Kind, ref.Name)
	if ref.SectionName != nil {
		s += fmt.Sprintf(" (section %s)", *ref.SectionName)
	}
	return s
}
