package scaler

import (
	"encoding/json"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

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
		q.Held = q.User
		if text, ok := given[t.name]; ok && t.name != "" {
			q.Held = text
		} else if t.kind == "prometheus" {
			q.Held = rename(q.User, s.target.Name, siskinv1.RolePrimary)
		}
		t.metadata["query"] = q.Held
		note.Queries = append(note.Queries, q)
	}
	return note
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

// rename replaces the name of the target, or of a clone, by that of the clone of role, where it is a word of its own: not in the
// name of something else that begins or ends with it.
func rename(text, name, role string) string {
	if name == "" {
		return text
	}
	clone := target.CloneName(name, role)
	var out strings.Builder
	for rest, before := text, byte(0); ; {
		i := strings.Index(rest, name)
		if i < 0 {
			out.WriteString(rest)
			return out.String()
		}
		if i > 0 {
			before = rest[i-1]
		}
		out.WriteString(rest[:i])
		after := rest[i+len(name):]
		found := name
		for _, of := range []string{siskinv1.RolePrimary, siskinv1.RoleCanary} {
			if more, ok := strings.CutPrefix(after, target.CloneName("", of)); ok && ends(more) {
				found, after = target.CloneName(name, of), more
				break
			}
		}
		if !inName(before) && before != '-' && ends(after) {
			out.WriteString(clone)
		} else {
			out.WriteString(found)
		}
		rest, before = after, found[len(found)-1]
	}
}

// ends tells whether a name that text follows has ended: "-" goes on only before a letter or a digit, so that web-[a-z0-9]+ and
// web-.* are pods of web, and web-api is another app.
func ends(text string) bool {
	if text == "" {
		return true
	}
	if text[0] == '-' {
		return len(text) < 2 || !inName(text[1])
	}
	return !inName(text[0])
}

func inName(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
