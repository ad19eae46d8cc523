package router

import (
	"fmt"

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
	refuse := func(field, format string, args ...any) error {
		return &InvalidError{Router: name, Field: field, Message: fmt.Sprintf(format, args...)}
	}
	s := in.Split
	switch {
	case !s.Valid():
		return refuse("spec.analysis", "the shares %d and %d must be >= 0 and sum to 100", s.Primary, s.Canary)
	case s.Mirror < 0 || s.Mirror > 100:
		return refuse("spec.analysis.mirrorWeight", "%d is no percentage", s.Mirror)
	case !c.Weighted && s.Primary != 0 && s.Canary != 0:
		return refuse("spec.analysis",
			"a split of %d/%d needs weights: use analysis.iterations (blue/green), or a provider that can split, such as gatewayapi",
			s.Primary, s.Canary)
	case s.Mirror > 0 && !c.Mirror:
		return refuse("spec.analysis.mirror", "%s cannot mirror requests: set mirror to false, or use a provider that can", c.name())
	case s.Mirror > 0 && s.Mirror < 100 && !c.MirrorPercent:
		return refuse("spec.analysis.mirrorWeight", "%s mirrors all requests or none: leave mirrorWeight out", c.name())
	case in.Sticky() && !c.Affinity:
		return refuse("spec.analysis.sessionAffinity", "%s cannot keep users at a version: leave sessionAffinity out, or use a provider that can", c.name())
	case s.Audience && len(in.Audience) == 0:
		return refuse("spec.analysis.match", "nothing tells which requests are selected: give at least one entry")
	case !s.Audience:
		return nil
	}
	if what, i := c.Unmatched(in.Audience); what != "" {
		return refuse(fmt.Sprintf("spec.analysis.match[%d]", i), "%s cannot select requests by %s: use another way, or a provider that can", c.name(), what)
	}
	return nil
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

func (c Capabilities) name() string {
	if c.Of == "" {
		return "this router"
	}
	return c.Of
}
