package definition

import (
	"fmt"
	"maps"
	"slices"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Ways in which a value can be compared.
const (
	matchExact  = "Exact"
	matchPrefix = "Prefix"
	matchSuffix = "Suffix"
	matchRegex  = "Regex"
)

// audience is what selects requests as expressions know it: one of its entries must match, with all that it has.
func audience(in router.Intent) []any {
	out := []any{}
	if !in.Split.Audience {
		return out
	}
	for i, m := range in.Audience {
		out = append(out, map[string]any{"index": int64(i), "headers": compared(m.Headers), "cookies": compared(m.Cookies)})
	}
	return out
}

func compared(all map[string]siskinv1.StringMatch) []any {
	out := []any{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		kind, value := comparison(all[name])
		out = append(out, map[string]any{"name": name, "type": kind, "value": value})
	}
	return out
}

func comparison(m siskinv1.StringMatch) (kind, value string) {
	switch {
	case m.Exact != "":
		return matchExact, m.Exact
	case m.Prefix != "":
		return matchPrefix, m.Prefix
	case m.Suffix != "":
		return matchSuffix, m.Suffix
	}
	return matchRegex, m.Regex
}

// selectable refuses a match that the definition cannot say.
func (d *Definition) selectable(in router.Intent) error {
	if !in.Split.Audience {
		return nil
	}
	for i, m := range in.Audience {
		for what, parts := range map[string]struct {
			asked map[string]siskinv1.StringMatch
			can   []string
		}{"headers": {m.Headers, d.headers}, "cookies": {m.Cookies, d.cookies}} {
			for _, name := range slices.Sorted(maps.Keys(parts.asked)) {
				if kind, _ := comparison(parts.asked[name]); len(parts.can) > 0 && !slices.Contains(parts.can, kind) {
					return d.invalid(fmt.Sprintf("spec.analysis.match[%d].%s.%s", i, what, name),
						"RouterDefinition %s compares %s by %v only: use one of these", d.Name, what, parts.can)
				}
			}
		}
	}
	return nil
}

func (d *Definition) invalid(field, format string, args ...any) error {
	return &router.InvalidError{Router: d.Name, Field: field, Message: fmt.Sprintf(format, args...)}
}
