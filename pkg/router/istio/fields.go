package istio

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	networking "istio.io/api/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// Rules are kept as the JSON that the API server has: Istio's types do not keep fields that they do not know, and a rule of the
// user's may have some. What Siskin says itself it says in Istio's types.

// fields of a JSON object.
type fields = map[string]any

// The lists of a VirtualService that lead requests somewhere.
const (
	listHTTP = "http"
	listTLS  = "tls"
	listTCP  = "tcp"
)

func listNames() []string { return []string{listHTTP, listTLS, listTCP} }

// lists are the rules of a VirtualService by the name of their list.
type lists map[string][]any

// listsOf takes the rules out of a spec.
func listsOf(spec fields) lists {
	out := lists{}
	for _, name := range listNames() {
		if all := list(spec, name); len(all) > 0 {
			out[name] = all
		}
	}
	return out
}

// encode writes one of Istio's types as JSON.
func encode(message proto.Message) (fields, error) {
	data, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("encoding %T: %w", message, err)
	}
	var out fields
	if err := utiljson.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("encoding %T: %w", message, err)
	}
	return out, nil
}

// decode reads JSON as one of Istio's types. Fields that the type does not know are left out.
func decode(from any, into protoadapt.MessageV2) error {
	data, err := json.Marshal(from)
	if err != nil {
		return fmt.Errorf("reading %T: %w", into, err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading %T: %w", into, err)
	}
	return nil
}

// plain writes rules in the one way in which Istio's types would: what is spelled otherwise and means the same is the same, and
// what they do not know does not count.
func plain(rules lists) (lists, error) {
	var spec networking.VirtualService
	if err := decode(rules, &spec); err != nil {
		return nil, err
	}
	out, err := encode(&spec)
	if err != nil {
		return nil, err
	}
	return listsOf(out), nil
}

// list is a list of an object; nil if there is none.
func list(of fields, key string) []any {
	out, _ := of[key].([]any)
	return out
}

// object is an object within another; nil if there is none.
func object(of fields, keys ...string) fields {
	for _, key := range keys {
		of, _ = of[key].(fields)
	}
	return of
}

// within is an object within another, which is made if there is none.
func within(of fields, keys ...string) fields {
	for _, key := range keys {
		next, ok := of[key].(fields)
		if !ok {
			next = fields{}
			of[key] = next
		}
		of = next
	}
	return of
}

func text(of fields, key string) string {
	out, _ := of[key].(string)
	return out
}

// number is a number of an object; ok is false if there is none.
func number(of fields, key string) (n int64, ok bool) {
	switch v := of[key].(type) {
	case int64:
		return v, true
	case float64:
		return int64(v), true
	}
	return 0, false
}

func copied(of fields) fields { return runtime.DeepCopyJSON(of) }
