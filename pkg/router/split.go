package router

import (
	"fmt"
	"iter"
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
	field, message := in.broken()
	if message == "" {
		f, asks, lacks := c.Lacks(in)
		if !lacks {
			return nil
		}
		who := c.Of
		if who == "" {
			who = "this router"
		}
		field, message = asks, who+" "+c.Cannot(f, asks)
	}
	return &InvalidError{Router: name, Field: field, Message: message}
}

// broken tells what is wrong with an intent, whoever is to carry it out; "" if nothing.
func (in Intent) broken() (field, message string) {
	s := in.Split
	switch {
	case !s.Valid():
		return "spec.analysis", fmt.Sprintf("the shares %d and %d must be >= 0 and sum to 100", s.Primary, s.Canary)
	case s.Mirror < 0 || s.Mirror > 100:
		return "spec.analysis.mirrorWeight", fmt.Sprintf("%d is no percentage", s.Mirror)
	case s.Audience && len(in.Audience) == 0:
		return "spec.analysis.match", "nothing tells which requests are selected: give at least one entry"
	}
	return "", ""
}

// Lacks returns the first feature that an intent needs and that is not there, and the field of the Canary that asks for it.
func (c Capabilities) Lacks(in Intent) (f Feature, field string, lacks bool) {
	return c.at(No, in.needs())
}

// LacksForService is Lacks for what spec.service of a Canary asks for besides the split. A router may leave that out of its route, and
// carry out the split all the same.
func (c Capabilities) LacksForService(owner *siskinv1.Canary) (f Feature, field string, lacks bool) {
	return c.at(No, serviceNeeds(owner))
}

// Doubts returns the first feature that an intent needs and of which it is not known whether it is there.
func (c Capabilities) Doubts(in Intent) (f Feature, doubts bool) {
	f, _, doubts = c.at(Maybe, in.needs())
	return f, doubts
}

func (c Capabilities) at(l Level, needs iter.Seq2[Feature, string]) (Feature, string, bool) {
	for f, field := range needs {
		if c.Features[f] == l {
			return f, field, true
		}
	}
	return 0, "", false
}

// Cannot tells that a feature which a field of the Canary asks for is not there, and what to do, as the end of a sentence. It is the text of
// every refusal.
func (c Capabilities) Cannot(f Feature, field string) string {
	what := f.String()
	if all := Matching(); slices.Contains(all, f) && !slices.ContainsFunc(all, c.Features.Can) {
		what = "select requests by header, cookie, path or query parameter"
	}
	text := "cannot " + what + ": " + instead(field)
	if c.Vouch != "" {
		text += "; " + c.Vouch
	}
	return text
}
