package scaler

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// prometheus is the type of the triggers whose queries are PromQL.
const prometheus = "prometheus"

// keda is what Siskin changed in a ScaledObject besides its limits and its target.
type keda struct {
	// Idle is the idleReplicaCount that was taken away for a rollout.
	Idle *int64 `json:"idle,omitempty"`
	// Queries are those of the triggers, in order; nil for a trigger without.
	Queries []*query `json:"queries,omitempty"`
}

// query of a trigger: the user's and what it became.
type query struct {
	User string `json:"user"`
	Held string `json:"held"`
}

// String is the annotation, "" if nothing was changed.
func (k keda) String() string {
	changed := k.Idle != nil
	for _, q := range k.Queries {
		changed = changed || (q != nil && q.User != q.Held)
	}
	if !changed {
		return ""
	}
	data, err := json.Marshal(k)
	if err != nil {
		return "" // numbers and strings are always encoded
	}
	return string(data)
}

func (s *Scaler) noted() keda {
	var k keda
	if json.Unmarshal([]byte(s.obj.GetAnnotations()[siskinv1.AutoscalerAnnotation]), &k) != nil {
		return keda{}
	}
	return k
}

// user returns the user's query of trigger i, which now has q.
func (k keda) user(i int, q string) string {
	if i < len(k.Queries) && k.Queries[i] != nil && k.Queries[i].Held == q {
		return k.Queries[i].User
	}
	for _, known := range k.Queries { // triggers were added, removed or put in another order
		if known != nil && known.Held == q {
			return known.User
		}
	}
	return q
}

// trigger of a ScaledObject. Maps are those of the object.
type trigger struct {
	kind, name string
	metadata   map[string]any
}

func triggers(obj *unstructured.Unstructured) []trigger {
	list, _, _ := unstructured.NestedFieldNoCopy(obj.Object, "spec", "triggers")
	items, _ := list.([]any)
	out := make([]trigger, len(items))
	for i, item := range items {
		m, _ := item.(map[string]any)
		out[i].kind, _ = m["type"].(string)
		out[i].name, _ = m["name"].(string)
		out[i].metadata, _ = m["metadata"].(map[string]any)
	}
	return out
}

func (t trigger) query() (string, bool) {
	q, ok := t.metadata["query"].(string)
	return q, ok
}

// point makes the queries of out those of the primary and, during a rollout, keeps KEDA from going to zero. It returns what it changed.
func (s *Scaler) point(out *unstructured.Unstructured, given map[string]string, rollout bool) keda {
	note, was := keda{}, s.noted()
	idle := pointer(number(out, fieldIdle))
	if idle == nil {
		idle = was.Idle
	}
	if idle != nil && rollout {
		unstructured.RemoveNestedField(out.Object, "spec", fieldIdle)
		note.Idle = idle
	} else if idle != nil {
		_ = unstructured.SetNestedField(out.Object, *idle, "spec", fieldIdle)
	}
	for i, t := range triggers(out) {
		now, ok := t.query()
		if !ok {
			note.Queries = append(note.Queries, nil)
			continue
		}
		q := &query{User: was.user(i, now)}
		q.Held = s.ofPrimary(t, q.User, given)
		t.metadata["query"] = q.Held
		note.Queries = append(note.Queries, q)
	}
	return note
}

// ofPrimary is the query of a trigger that the primary is scaled by: the user's, or the one that the spec gives.
func (s *Scaler) ofPrimary(t trigger, user string, given map[string]string) string {
	text, ok := given[t.name]
	ok = ok && t.name != ""
	switch {
	case ok && t.kind == prometheus:
		return s.pods.Unnamed(text)
	case ok:
		return text
	case t.kind == prometheus:
		return s.pods.OfPrimary(user)
	}
	return user
}

// unpoint gives out the user's queries, and the number that was taken away for a rollout.
func (s *Scaler) unpoint(out *unstructured.Unstructured) {
	was := s.noted()
	for i, t := range triggers(out) {
		if now, ok := t.query(); ok {
			t.metadata["query"] = was.user(i, now)
		}
	}
	if _, ok := number(out, fieldIdle); !ok && was.Idle != nil {
		_ = unstructured.SetNestedField(out.Object, *was.Idle, "spec", fieldIdle)
	}
}
