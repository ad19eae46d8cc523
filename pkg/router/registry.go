package router

import (
	"maps"
	"slices"
)

// Names lists the providers, sorted.
func (r Registry) Names() []string { return slices.Sorted(maps.Keys(r)) }
