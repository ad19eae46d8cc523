package router

import (
	"fmt"
	"slices"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// String is "primary/canary", and what else reaches the canary.
func (s Split) String() string {
	text := fmt.Sprintf("%d/%d", s.Primary, s.Canary)
	if s.Mirror != 0 {
		text += fmt.Sprintf(" with %d%% mirrored", s.Mirror)
	}
	if s.Audience {
		text += " and the selected requests to the canary"
	}
	return text
}

// Check refuses an intent whose split is no split, and one that the router of this name cannot do.
func (c Capabilities) Check(name string, in Intent) error {
	field, message := c.refusal(in)
	if message == "" {
		return nil
	}
	return &InvalidError{Router: name, Field: field, Message: message}
}

func (c Capabilities) refusal(in Intent) (field, message string) {
	s := in.Split
	switch {
	case !s.Valid():
		return "spec.analysis", fmt.Sprintf("the shares %d and %d must be >= 0 and sum to 100", s.Primary, s.Canary)
	case s.Mirror < 0 || s.Mirror > 100:
		return "spec.analysis.mirrorWeight", fmt.Sprintf("%d is no percentage", s.Mirror)
	case !c.Weighted && s.Primary*s.Canary != 0:
		return "spec.analysis", fmt.Sprintf(
			"a split of %d/%d needs weights: use analysis.iterations (blue/green), or a provider that can split, such as gatewayapi", s.Primary, s.Canary)
	case s.Mirror > 0 && !c.Mirror:
		return "spec.analysis.mirror", c.name() + " cannot mirror requests: set mirror to false, or use a provider that can"
	case s.Mirror%100 > 0 && !c.MirrorPercent:
		return "spec.analysis.mirrorWeight", c.name() + " mirrors all requests or none: leave mirrorWeight out"
	case in.Sticky() && !c.Affinity:
		return "spec.analysis.sessionAffinity", c.name() + " cannot keep users at a version: leave sessionAffinity out, or use a provider that can"
	case s.Audience:
		return c.audience(in)
	}
	return "", ""
}

func (c Capabilities) audience(in Intent) (field, message string) {
	if len(in.Audience) == 0 {
		return "spec.analysis.match", "nothing tells which requests are selected: give at least one entry"
	}
	what, i := c.Unmatched(in.Audience)
	if what == "" {
		return "", ""
	}
	return fmt.Sprintf("spec.analysis.match[%d]", i), fmt.Sprintf("%s cannot select requests by %s: use another way, or a provider that can", c.name(), what)
}

// Unmatched returns what of a match cannot be done, and in which entry; "" if all can.
func (c Capabilities) Unmatched(match []siskinv1.RequestMatch) (what string, entry int) {
	for i, m := range match {
		switch {
		case !c.Match:
			return "header, cookie, path or query parameter", i
		case c.NoQueryMatch && len(m.QueryParams) > 0:
			return "query parameter", i
		case c.NoMethodMatch && m.Method != nil:
			return "method", i
		}
	}
	return "", 0
}

// Unmirrored returns what of the copies that a Canary's spec.service.mirror asks for cannot be made, and in which entry; "" if
// all can.
func (c Capabilities) Unmirrored(owner *siskinv1.Canary) (what string, entry int) {
	for i, m := range owner.Spec.Service.Mirror {
		switch {
		case !c.Mirror:
			return "mirror requests", i
		case !c.MirrorPercent && (m.Percent != nil || m.Fraction != nil):
			return "mirror a part of the requests", i
		}
	}
	return "", 0
}

// Doubt returns what of an intent it is not known of whether it can be done; "" if nothing.
func (c Capabilities) Doubt(in Intent) string {
	u := c.Unsure
	asked := func(by func(siskinv1.RequestMatch) bool) bool {
		return in.Split.Audience && slices.ContainsFunc(in.Audience, by)
	}
	switch {
	case in.Split.Mirror > 0 && u.Mirror:
		return "mirror requests"
	case in.Split.Mirror%100 > 0 && u.MirrorPercent:
		return "mirror a part of the requests"
	case in.Sticky() && u.Affinity:
		return "keep users at a version"
	case u.QueryMatch && asked(func(m siskinv1.RequestMatch) bool { return len(m.QueryParams) > 0 }):
		return "select requests by query parameter"
	case u.MethodMatch && asked(func(m siskinv1.RequestMatch) bool { return m.Method != nil }):
		return "select requests by method"
	}
	return ""
}

func (c Capabilities) name() string {
	if c.Of == "" {
		return "this router"
	}
	return c.Of
}
