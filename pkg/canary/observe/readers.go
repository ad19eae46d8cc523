package observe

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// readers knows which Canaries read a ConfigMap. The zero value is ready for use; who uses it holds a lock.
type readers struct {
	reads map[reading][]string
	index map[types.NamespacedName]map[reading]bool
}

// reading is what the target of a Canary reads, or the pods of its revisions in use.
type reading struct {
	who    types.NamespacedName
	copies bool
}

// set replaces the names of all ConfigMaps of a reading.
func (r *readers) set(by reading, names []string) {
	if slices.Equal(r.reads[by], names) {
		return
	}
	for _, name := range r.reads[by] {
		at := types.NamespacedName{Namespace: by.who.Namespace, Name: name}
		if delete(r.index[at], by); len(r.index[at]) == 0 {
			delete(r.index, at)
		}
	}
	delete(r.reads, by)
	if len(names) == 0 {
		return
	}
	if r.reads == nil {
		r.reads, r.index = map[reading][]string{}, map[types.NamespacedName]map[reading]bool{}
	}
	r.reads[by] = names
	for _, name := range names {
		at := types.NamespacedName{Namespace: by.who.Namespace, Name: name}
		if r.index[at] == nil {
			r.index[at] = map[reading]bool{}
		}
		r.index[at][by] = true
	}
}

// of lists the Canaries that read a ConfigMap.
func (r *readers) of(configMap types.NamespacedName) []types.NamespacedName {
	var out []types.NamespacedName
	for by := range r.index[configMap] {
		if !slices.Contains(out, by.who) {
			out = append(out, by.who)
		}
	}
	return out
}
