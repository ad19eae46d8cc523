// Package inventory decides which objects a GitSync answers for. It is pure: what was recorded and what git wants go in,
// what to record and what to prune come out.
//
// The record is written before the first object is applied (Intended), so that a crash never leaves an object in the
// cluster that no inventory knows of, and once more at the end (Settled), when failed deletions stay on it.
package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrInvalidID : a recorded id cannot be read.
var ErrInvalidID = errors.New("invalid inventory id")

// Ref names an object apart from the version of its API.
type Ref struct {
	Namespace, Name, Group, Kind string
}

// Entry is one recorded object.
type Entry struct {
	Ref

	Version string
}

// String returns <namespace>_<name>_<group>_<kind>. Names may contain underscores, the other three cannot.
func (r Ref) String() string {
	return strings.Join([]string{r.Namespace, r.Name, r.Group, r.Kind}, "_")
}

// Parse reads what Ref.String wrote.
func Parse(id string) (Ref, error) {
	namespace, rest, ok := strings.Cut(id, "_")
	kindAt := strings.LastIndex(rest, "_")
	if !ok || kindAt < 0 {
		return Ref{}, fmt.Errorf("%w: %q", ErrInvalidID, id)
	}
	groupAt := strings.LastIndex(rest[:kindAt], "_")
	if groupAt < 0 {
		return Ref{}, fmt.Errorf("%w: %q", ErrInvalidID, id)
	}
	r := Ref{Namespace: namespace, Name: rest[:groupAt], Group: rest[groupAt+1 : kindAt], Kind: rest[kindAt+1:]}
	if r.Name == "" || r.Kind == "" {
		return Ref{}, fmt.Errorf("%w: %q", ErrInvalidID, id)
	}
	return r, nil
}

// Intended is the inventory to record before want is applied: all that was recorded, and all that is wanted.
func Intended(recorded, want []Entry) []Entry {
	return normal(slices.Concat(recorded, want))
}

// Prunable lists what was recorded and is wanted no more.
func Prunable(recorded, want []Entry) []Entry {
	wanted := make(map[Ref]struct{}, len(want))
	for _, e := range want {
		wanted[e.Ref] = struct{}{}
	}
	var out []Entry
	for _, e := range normal(recorded) {
		if _, ok := wanted[e.Ref]; !ok {
			out = append(out, e)
		}
	}
	return out
}

// Settled is the inventory to record at the end: what is wanted, and what could not be deleted.
func Settled(want, undeleted []Entry) []Entry {
	return normal(slices.Concat(undeleted, want))
}

// Equal tells whether two inventories record the same.
func Equal(a, b []Entry) bool {
	return slices.Equal(normal(a), normal(b))
}

// normal sorts and keeps one entry for each object, the last one given.
func normal(entries []Entry) []Entry {
	byRef := make(map[Ref]Entry, len(entries))
	for _, e := range entries {
		byRef[e.Ref] = e
	}
	out := make([]Entry, 0, len(byRef))
	for _, e := range byRef {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.String(), b.String()) })
	return out
}
