package gateway

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// verdict is what the gateway thinks of a generation of a route, for one parent or for all of its.
type verdict struct {
	accepted, resolved             bool
	acceptedReason, resolvedReason string
	message                        string
}

// stage is where one route stands.
type stage struct {
	// generation that was seen last, and since when.
	generation int64
	since      time.Time
	// programmed carries the traffic; nil: nothing does.
	programmed *compiled
	// told is the generation about which a condition was reported last.
	told int64
	// last is what was reported last.
	last string
	// anchor are the rules that a writer of a Reverted fault puts back.
	anchor []gatewayv1.HTTPRouteRule
}

// move is what to do with a route.
type move struct {
	// program the generation.
	program bool
	// say is what the status is to state; none: leave it as it is.
	say []metav1.Condition
	// what happened, for the log.
	what string
	// wake is how long to wait for the rest; 0: there is none.
	wake time.Duration
}

// see takes notice of a generation.
func (s *stage) see(generation int64, now time.Time) {
	if s.generation != generation {
		s.generation, s.since = generation, now
	}
}

// next tells what to do with the generation seen last under a fault.
func (s *stage) next(f Fault, v verdict, now time.Time) move {
	current := s.programmed != nil && s.programmed.generation == s.generation
	yes := move{program: !current, say: v.conditions(s.generation), what: "accepted"}
	if !v.accepted {
		return move{say: v.conditions(s.generation), what: "refused"}
	}
	if current && s.told == s.generation {
		return yes // what is in force stays in force
	}
	left := s.since.Add(f.Delay).Sub(now)
	switch f.Kind {
	case Late:
		if left > 0 {
			return move{wake: left}
		}
	case Unprogrammed:
		if left > 0 {
			yes.program, yes.wake = false, left
		}
	case Refused:
		no := v
		no.accepted, no.acceptedReason, no.message = false, f.Reason, "refused, as the test wants it"
		if no.acceptedReason == "" {
			no.acceptedReason = string(gatewayv1.RouteReasonUnsupportedValue)
		}
		return move{say: no.conditions(s.generation), what: "refused"}
	case Partial:
		return move{say: s.fallback(v), what: "partial"}
	case Reverted, "":
	}
	return yes
}

// fallback are the conditions of a gateway that goes on with the generation before.
func (s *stage) fallback(v verdict) []metav1.Condition {
	before := s.generation - 1
	if s.programmed != nil {
		before = s.programmed.generation
	}
	return append(v.conditions(before), metav1.Condition{
		Type: string(gatewayv1.RouteConditionPartiallyInvalid), Status: metav1.ConditionTrue, ObservedGeneration: s.generation,
		Reason: string(gatewayv1.RouteReasonUnsupportedValue), Message: "Fall Back to the generation before, as the test wants it",
	})
}

// conditions of a parent.
func (v verdict) conditions(generation int64) []metav1.Condition {
	one := func(kind gatewayv1.RouteConditionType, ok bool, good gatewayv1.RouteConditionReason, bad string) metav1.Condition {
		c := metav1.Condition{Type: string(kind), Status: metav1.ConditionTrue, Reason: string(good), ObservedGeneration: generation}
		if !ok {
			c.Status, c.Reason, c.Message = metav1.ConditionFalse, bad, v.message
		}
		return c
	}
	return []metav1.Condition{
		one(gatewayv1.RouteConditionAccepted, v.accepted, gatewayv1.RouteReasonAccepted, v.acceptedReason),
		one(gatewayv1.RouteConditionResolvedRefs, v.resolved, gatewayv1.RouteReasonResolvedRefs, v.resolvedReason),
	}
}
