package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// tries bounds the dry runs of one object: one refusal may hide another.
const tries = 4

// Of some fields an object may have only one, such as strategy.rollingUpdate with type RollingUpdate, or one source of
// a volume. The API server fills in what git leaves out, and nobody owns that: a server-side apply that switches to
// another of these fields leaves it, and the server refuses the two together. What nobody owns, and git does not have,
// is claimed for GitSync first. That changes nothing but managedFields. The apply, which does not name it, then takes
// it away in one write with the switch.

// try sends a dry run. It returns live as it was read last, and what the server would make of it.
func (j *job) try(ctx context.Context, desired, live *unstructured.Unstructured) (now, merged *unstructured.Unstructured, err error) {
	for n := 1; ; n++ {
		merged, err = j.send(ctx, desired, client.DryRunAll)
		if live == nil || !apierrors.IsInvalid(err) || n == tries {
			return live, merged, err
		}
		marked, held := claims(desired, live, err)
		if len(marked) == 0 && len(held) > 0 {
			err = fmt.Errorf("%w (%s: name it in git, or take it away with kubectl edit)", err, strings.Join(held, ", "))
		}
		if len(marked) == 0 {
			return live, nil, err
		}
		if live, err = j.claim(ctx, live, marked); err != nil {
			return nil, nil, err
		}
	}
}

// claim writes the managed fields of live, if it still is as it was read.
func (j *job) claim(ctx context.Context, live *unstructured.Unstructured, marked []metav1.ManagedFieldsEntry) (*unstructured.Unstructured, error) {
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": marked},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()}, // else it is a conflict
	})
	if err != nil {
		return nil, fmt.Errorf("writing down who owns its fields: %w", err)
	}
	now := named(live)
	if err := j.Client.Patch(ctx, now, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(siskinv1.GitSyncFieldManager)); err != nil {
		return nil, fmt.Errorf("claiming the defaults that the switch takes away: %w", err)
	}
	return now, nil
}

// claims finds in a refused apply the fields to claim, and marks them in the managed fields of live, which are
// returned; nil: there are none. Git's nulls for such fields, which an apply does not heed, are taken out of desired.
// held are fields in the way that others own.
func claims(desired, live *unstructured.Unstructured, refusal error) (marked []metav1.ManagedFieldsEntry, held []string) {
	status, ok := errors.AsType[*apierrors.StatusError](refusal)
	if !ok || status.Status().Details == nil {
		return nil, nil
	}
	o := newOwners(live)
	found := false
	for _, near := range []bool{false, true} {
		for _, cause := range status.Status().Details.Causes {
			if near && cause.Type != metav1.CauseType(field.ErrorTypeForbidden) {
				continue // only such a cause may name the other field of the two
			}
			for _, c := range candidates(o, desired, live, cause.Field, near) {
				switch mine, other := o.of(c.path); {
				case other != "":
					held = append(held, fmt.Sprintf("%s is not in git, and %s owns it", c.said, other))
				case !mine || c.null:
					delete(c.git, c.name)
					o.mark(c.path)
					found = true
				}
			}
		}
		if found {
			return o.entries(live), nil
		}
	}
	slices.Sort(held)
	return nil, slices.Compact(held)
}

// candidate is a field of live that git does not have.
type candidate struct {
	git  map[string]any // the struct in git
	name string
	null bool     // git has it as null
	path []string // in the notation of managedFields
	said string   // for people
}

// place is one struct, or list, of the object in the cluster and in git.
type place struct {
	live, git any
	path      []string
}

// candidates are the field that a cause names and, if near, its neighbours and children. Of what lies directly in spec
// only the field itself is taken: the server allocates some of the others.
func candidates(o *owners, desired, live *unstructured.Unstructured, named string, near bool) []candidate {
	steps := strings.FieldsFunc(named, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
	if len(steps) < 2 || steps[0] != "spec" {
		return nil
	}
	last := steps[len(steps)-1]
	at := []place{{live: live.Object, git: desired.Object}}
	for _, step := range steps[:len(steps)-1] {
		at = o.descend(at, step)
	}
	var out []candidate
	for _, p := range at {
		if !near {
			out = append(out, p.lacks(func(name string) bool { return name == last })...)
			continue
		}
		if len(p.path) > 1 {
			out = append(out, p.lacks(everything)...)
		}
		for _, child := range o.descend([]place{p}, last) {
			out = append(out, child.lacks(everything)...)
		}
	}
	return out
}

func everything(string) bool { return true }

// lacks lists the fields of a struct that git does not have, or has as null.
func (p place) lacks(wanted func(string) bool) []candidate {
	live, ok := p.live.(map[string]any)
	git, ok2 := p.git.(map[string]any)
	if !ok || !ok2 {
		return nil
	}
	var out []candidate
	for _, name := range slices.Sorted(maps.Keys(live)) {
		if !wanted(name) || git[name] != nil {
			continue
		}
		_, null := git[name]
		path := append(slices.Clone(p.path), "f:"+name)
		out = append(out, candidate{git: git, name: name, null: null, path: path, said: said(path)})
	}
	return out
}

// descend goes one step of a path down. The number of an element is that of the refused object, which nobody has: all
// elements are looked at that git has too.
func (o *owners) descend(at []place, step string) []place {
	var out []place
	for _, p := range at {
		live, ok := p.live.(map[string]any)
		git, ok2 := p.git.(map[string]any)
		if ok && ok2 {
			if live[step] != nil && git[step] != nil {
				out = append(out, place{live[step], git[step], append(slices.Clone(p.path), "f:"+step)})
			}
			continue
		}
		if _, err := strconv.Atoi(step); err == nil {
			out = append(out, o.elements(p)...)
		}
	}
	return out
}

// elements pairs the elements of a list by the keys that managedFields know them by.
func (o *owners) elements(p place) []place {
	live, _ := p.live.([]any)
	git, _ := p.git.([]any)
	var out []place
	for _, l := range live {
		key, fields := o.key(p.path, l)
		if key == "" {
			continue
		}
		i := slices.IndexFunc(git, func(g any) bool { return has(g, fields) })
		if i >= 0 {
			out = append(out, place{l, git[i], append(slices.Clone(p.path), key)})
		}
	}
	return out
}

// has tells whether an element has these keys. A key that it leaves out has the server's default.
func has(element any, keys map[string]any) bool {
	e, ok := element.(map[string]any)
	if !ok {
		return false
	}
	found := false
	for k, v := range keys {
		if e[k] != nil && !equal(e[k], v) {
			return false
		}
		found = found || e[k] != nil
	}
	return found
}

// equal compares a value of an object with one of managedFields, whose numbers are float64.
func equal(a, b any) bool {
	if n, ok := a.(int64); ok {
		f, isNumber := b.(float64)
		return isNumber && float64(n) == f
	}
	return reflect.DeepEqual(a, b)
}

// owners are the managed fields of an object.
type owners struct {
	all  []map[string]any // by entry
	who  []string
	mine int // the entry of GitSync, -1: it has none
}

func newOwners(live *unstructured.Unstructured) *owners {
	o := &owners{mine: -1}
	for i, e := range live.GetManagedFields() {
		fields := map[string]any{}
		if e.FieldsV1 != nil {
			_ = json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) // one that cannot be read owns nothing
		}
		o.all, o.who = append(o.all, fields), append(o.who, e.Manager)
		if isMine(e) && e.APIVersion == live.GetAPIVersion() {
			o.mine = i
		}
	}
	return o
}

func isMine(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == siskinv1.GitSyncFieldManager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
}

// of tells who owns a field, something in it, or the whole that it is a part of: GitSync, and one other; "": no other
// does.
func (o *owners) of(path []string) (mine bool, other string) {
	for i, at := range o.all {
		switch {
		case !owns(at, path):
		case i == o.mine:
			mine = true
		default:
			other = o.who[i]
		}
	}
	return mine, other
}

func owns(at map[string]any, path []string) bool {
	for _, step := range path {
		next, ok := at[step].(map[string]any)
		if !ok {
			return false
		}
		if at = next; len(at) == 0 {
			return true
		}
	}
	return true
}

// said writes a path of managedFields for people: spec.volumes[name=data].emptyDir.
func said(path []string) string {
	var b strings.Builder
	for _, step := range path {
		if name, ok := strings.CutPrefix(step, "f:"); ok {
			b.WriteString("." + name)
			continue
		}
		keys := strings.NewReplacer("k:{", "", "}", "", `"`, "", ":", "=").Replace(step)
		b.WriteString("[" + keys + "]")
	}
	return strings.TrimPrefix(b.String(), ".")
}

// key is how managedFields call an element of the list at path, and the keys in it; "": nobody owns it.
func (o *owners) key(path []string, element any) (key string, fields map[string]any) {
	for _, at := range o.all {
		for _, step := range path {
			at, _ = at[step].(map[string]any)
		}
		for _, k := range slices.Sorted(maps.Keys(at)) {
			var keys map[string]any
			text, ok := strings.CutPrefix(k, "k:")
			if ok && json.Unmarshal([]byte(text), &keys) == nil && has(element, keys) {
				return k, keys
			}
		}
	}
	return "", nil
}

// mark notes that GitSync owns a field.
func (o *owners) mark(path []string) {
	if o.mine < 0 {
		o.mine = len(o.all)
		o.all, o.who = append(o.all, map[string]any{}), append(o.who, siskinv1.GitSyncFieldManager)
	}
	at := o.all[o.mine]
	for _, step := range path {
		next, ok := at[step].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[step] = next
		}
		at = next
	}
}

// entries are the managed fields with what was marked.
func (o *owners) entries(live *unstructured.Unstructured) []metav1.ManagedFieldsEntry {
	out := live.GetManagedFields()
	if o.mine == len(out) {
		out = append(out, metav1.ManagedFieldsEntry{
			Manager: siskinv1.GitSyncFieldManager, Operation: metav1.ManagedFieldsOperationApply,
			APIVersion: live.GetAPIVersion(), FieldsType: "FieldsV1",
		})
	}
	data, err := json.Marshal(o.all[o.mine])
	if err != nil { // it was JSON a moment ago
		return nil
	}
	out[o.mine].FieldsV1 = &metav1.FieldsV1{}
	out[o.mine].FieldsV1.SetRawBytes(data)
	return out
}
