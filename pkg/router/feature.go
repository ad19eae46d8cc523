package router

import (
	"fmt"
	"iter"
	"slices"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Feature is something that a data plane may be able to do and that an Intent may need.
type Feature int

const (
	// FeatureWeights : any whole percentage. Without it only 0 and 100 are possible (blue/green).
	FeatureWeights Feature = iota
	// FeatureMatchHeader : requests can be selected by header.
	FeatureMatchHeader
	// FeatureMatchCookie : requests can be selected by cookie.
	FeatureMatchCookie
	// FeatureMatchPath : requests can be selected by path.
	FeatureMatchPath
	// FeatureMatchQuery : requests can be selected by query parameter.
	FeatureMatchQuery
	// FeatureMatchMethod : requests can be selected by method.
	FeatureMatchMethod
	// FeatureMirror : requests can be copied.
	FeatureMirror
	// FeatureMirrorPart : and not only all of them.
	FeatureMirrorPart
	// FeatureAffinity : a user can be kept at a version by a cookie.
	FeatureAffinity

	featureCount
)

// String is what a router that has the feature can do, as in "cannot mirror requests".
func (f Feature) String() string {
	switch f {
	case FeatureWeights:
		return "split traffic by weight"
	case FeatureMatchHeader:
		return "select requests by header"
	case FeatureMatchCookie:
		return "select requests by cookie"
	case FeatureMatchPath:
		return "select requests by path"
	case FeatureMatchQuery:
		return "select requests by query parameter"
	case FeatureMatchMethod:
		return "select requests by method"
	case FeatureMirror:
		return "mirror requests"
	case FeatureMirrorPart:
		return "mirror a part of the requests"
	case FeatureAffinity:
		return "keep users at a version"
	case featureCount:
	}
	return fmt.Sprintf("Feature(%d)", int(f))
}

// instead is what a user can do with a field of the Canary that asks for what there is no router for.
func instead(field string) string {
	switch field {
	case "spec.analysis":
		return "use iterations (blue/green) or provider gatewayapi"
	case "spec.analysis.mirror":
		return "set it to false, or use a provider that can"
	case "spec.analysis.mirrorWeight", "spec.analysis.stepWeightPromotion":
		return "leave it out"
	}
	return "leave it out, or use a provider that can"
}

// AllFeatures returns every Feature, in the order of tables and of refusals.
func AllFeatures() []Feature {
	out := make([]Feature, featureCount)
	for i := range out {
		out[i] = Feature(i)
	}
	return out
}

// Matching returns the features by which requests are selected: by header, cookie, path, query parameter and method.
func Matching() []Feature {
	return []Feature{FeatureMatchHeader, FeatureMatchCookie, FeatureMatchPath, FeatureMatchQuery, FeatureMatchMethod}
}

// Level tells whether a data plane has a Feature.
type Level int

const (
	// No : what needs it is refused.
	No Level = iota
	// Maybe : nobody can tell yet. It counts as there, so that no edit is refused for what may be possible and what goes on already goes on;
	// the engine waits before it uses it for the first time.
	Maybe
	// Yes : it is there.
	Yes
)

// String is the level as a table shows it.
func (l Level) String() string {
	switch l {
	case No:
		return "No"
	case Maybe:
		return "Maybe"
	case Yes:
		return "Yes"
	}
	return fmt.Sprintf("Level(%d)", int(l))
}

// Features tells for each Feature whether a data plane has it. The zero value has none.
type Features [featureCount]Level

// Every returns Features that are all at one level.
func Every(l Level) Features {
	var out Features
	for f := range out {
		out[f] = l
	}
	return out
}

// With returns f with some features at another level.
func (f Features) With(l Level, some ...Feature) Features {
	for _, one := range some {
		f[one] = l
	}
	return f
}

// Least is what two data planes can do that both carry the traffic: what one of them cannot do is certain.
func (f Features) Least(other Features) Features {
	for i := range f {
		f[i] = min(f[i], other[i])
	}
	return f
}

// Most is what a data plane can do of which two sources tell, each of what it knows: somebody vouches for it.
func (f Features) Most(other Features) Features {
	for i := range f {
		f[i] = max(f[i], other[i])
	}
	return f
}

// Can reports whether a feature is there, or may be.
func (f Features) Can(one Feature) bool { return f[one] > No }

// Sure reports whether nothing is at Maybe.
func (f Features) Sure() bool { return !slices.Contains(f[:], Maybe) }

// Needs lists the features that the split needs, each once, in their order. What spec.service needs besides is of LacksForService.
func (in Intent) Needs() []Feature {
	var out []Feature
	for f := range in.needs() {
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out
}

// needs yields features with the field of the Canary that asks for them.
func (in Intent) needs() iter.Seq2[Feature, string] {
	return func(yield func(Feature, string) bool) {
		s := in.Split
		if s.Primary*s.Canary != 0 && !yield(FeatureWeights, "spec.analysis") {
			return
		}
		if s.Audience {
			for i, m := range in.Audience {
				for _, f := range selects(m) {
					if !yield(f, fmt.Sprintf("spec.analysis.match[%d]", i)) {
						return
					}
				}
			}
		}
		switch {
		case s.Mirror > 0 && !yield(FeatureMirror, "spec.analysis.mirror"),
			s.Mirror%100 > 0 && !yield(FeatureMirrorPart, "spec.analysis.mirrorWeight"):
			return
		case in.Sticky():
			yield(FeatureAffinity, "spec.analysis.sessionAffinity")
		}
	}
}

// selects are the features that a match needs.
func selects(m siskinv1.RequestMatch) []Feature {
	var out []Feature
	for i, asked := range []bool{len(m.Headers) > 0, len(m.Cookies) > 0, m.URI != nil, len(m.QueryParams) > 0, m.Method != nil} {
		if asked {
			out = append(out, Matching()[i])
		}
	}
	if len(out) == 0 { // it selects all
		return []Feature{FeatureMatchPath}
	}
	return out
}

// serviceNeeds yields the features that spec.service of a Canary asks for, with its fields.
func serviceNeeds(c *siskinv1.Canary) iter.Seq2[Feature, string] {
	return func(yield func(Feature, string) bool) {
		for i, m := range c.Spec.Service.Mirror {
			field := fmt.Sprintf("spec.service.mirror[%d]", i)
			if !yield(FeatureMirror, field) || (m.Percent != nil || m.Fraction != nil) && !yield(FeatureMirrorPart, field) {
				return
			}
		}
	}
}
