package definition

import (
	"fmt"
	"slices"
	"strings"
)

// apexMark in a pointer stands for the name of the apex Service.
const apexMark = "{apex}"

// maxDepth of a pointer, in fields.
const maxDepth = 16

// pointer is a JSON pointer through maps: the names of the fields from the root on.
type pointer []string

// parsePointer reads a JSON pointer to a field that a definition may write. Errors: text for people, without the
// pointer.
func parsePointer(text string) (pointer, error) {
	rest, ok := strings.CutPrefix(text, "/")
	if !ok {
		return nil, fmt.Errorf("%q is no JSON pointer: it begins with /", text)
	}
	var p pointer
	for token := range strings.SplitSeq(rest, "/") {
		plain := strings.ReplaceAll(strings.ReplaceAll(token, "~1", ""), "~0", "")
		if token == "" || strings.Contains(plain, "~") {
			return nil, fmt.Errorf("%q is no JSON pointer: a field's name is empty, or has a ~ that is neither ~0 nor ~1", text)
		}
		p = append(p, strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~"))
	}
	if len(p) > maxDepth {
		return nil, fmt.Errorf("%q has more than %d fields", text, maxDepth)
	}
	return p, p.allowed(text)
}

// parseNoted is parsePointer for what Siskin noted, which may lead to all annotations.
func parseNoted(text string) (pointer, error) {
	if text == "/metadata/annotations" {
		return pointer{"metadata", "annotations"}, nil
	}
	return parsePointer(text)
}

// allowed refuses what is not a route's to say: its name, its owners, its status, and what Siskin and kubectl note on
// it.
func (p pointer) allowed(text string) error {
	switch {
	case p[0] == "spec" && len(p) > 1:
		return nil
	case p[0] == "metadata" && len(p) == 3 && p[1] == "annotations":
		if domain, _, _ := strings.Cut(p[2], "/"); domain == "siskin.dev" || strings.HasSuffix(domain, ".siskin.dev") ||
			domain == "kubectl.kubernetes.io" {
			return fmt.Errorf("%q is an annotation of Siskin's or of kubectl's own: choose another", text)
		}
		return nil
	}
	return fmt.Errorf("%q may not be written: point at a field below /spec, or at one of /metadata/annotations", text)
}

// within reports whether p is other, or below it.
func (p pointer) within(other pointer) bool {
	return len(p) >= len(other) && slices.Equal(p[:len(other)], other)
}

// of names the apex.
func (p pointer) of(apex string) pointer {
	out := slices.Clone(p)
	for i := range out {
		out[i] = strings.ReplaceAll(out[i], apexMark, apex)
	}
	return out
}

// String is the JSON pointer.
func (p pointer) String() string {
	var b strings.Builder
	for _, token := range p {
		b.WriteString("/" + strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1"))
	}
	return b.String()
}

// get returns what a field says, and whether it is there.
func (p pointer) get(obj map[string]any) (any, bool) {
	var at any = obj
	for _, token := range p {
		m, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = m[token]; !ok {
			return nil, false
		}
	}
	return at, true
}

// set makes a field say value, and makes the maps that lead to it; obj is changed. Errors: something on the way is no
// map.
func (p pointer) set(obj map[string]any, value any) error {
	at := obj
	for i, token := range p[:len(p)-1] {
		next, ok := at[token]
		if !ok || next == nil {
			next = map[string]any{}
			at[token] = next
		}
		m, ok := next.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is no object in which %s could be written", p[:i+1], p)
		}
		at = m
	}
	at[p[len(p)-1]] = value
	return nil
}

// unset takes a field away; obj is changed.
func (p pointer) unset(obj map[string]any) {
	at := obj
	for _, token := range p[:len(p)-1] {
		m, ok := at[token].(map[string]any)
		if !ok {
			return
		}
		at = m
	}
	delete(at, p[len(p)-1])
}
