package definition

import (
	"fmt"
)

// note is what the author of an object wants of a field that Siskin writes.
type note struct {
	// Pointer of the field.
	Pointer string `json:"pointer"`
	// There tells that the author's object has the field.
	There bool `json:"there"`
	// Value of the field.
	Value any `json:"value,omitempty"`
}

// noted are the notes of these fields of an object. A field whose parents are missing is noted at the highest of them
// that is missing, so that restoring leaves no empty ones behind.
func noted(obj map[string]any, all []pointer) []note {
	out := make([]note, 0, len(all))
	for _, p := range all {
		for len(p) > 2 {
			if _, ok := p[:len(p)-1].get(obj); ok {
				break
			}
			p = p[:len(p)-1]
		}
		value, ok := p.get(obj)
		out = append(out, note{Pointer: p.String(), There: ok, Value: copiedValue(value)})
	}
	return out
}

// restore makes a field of obj, which is changed, say what its author wants.
func (n note) restore(obj map[string]any) error {
	p, err := parseNoted(n.Pointer)
	if err != nil {
		return fmt.Errorf("reading what the author of the object wants: %w", err)
	}
	if !n.There {
		p.unset(obj)
		return nil
	}
	return p.set(obj, copiedValue(n.Value))
}
