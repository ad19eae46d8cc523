package definition

import (
	"errors"
	"fmt"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// decode reads JSON as unstructured objects have it: whole numbers are int64.
func decode(data []byte) (any, error) {
	if len(data) > maxObject {
		return nil, errTooLarge
	}
	var out any
	if err := utiljson.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	return out, nil
}

// decodeObject is decode for an object.
func decodeObject(data []byte) (map[string]any, error) {
	out, err := decode(data)
	if err != nil {
		return nil, err
	}
	obj, ok := out.(map[string]any)
	if !ok {
		return nil, errors.New("it is no object")
	}
	return obj, nil
}
