package definition

import (
	"errors"
	"fmt"
	"math"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// maxNodes is how many values an expression may give, those in lists and maps counted; maxText how many bytes of
// text.
const (
	maxNodes = 20_000
	maxText  = 512 << 10
)

var errTooLarge = errors.New("the value is too large")

// budget bounds what is taken out of CEL. Its lists may share their elements, so that a short expression could be an
// endless value.
type budget struct{ nodes, text int }

func newBudget() *budget { return &budget{nodes: maxNodes, text: maxText} }

// plain is a value of CEL as unstructured objects have it.
func (b *budget) plain(v ref.Val) (any, error) {
	if b.nodes--; b.nodes < 0 {
		return nil, errTooLarge
	}
	switch v := v.(type) {
	case types.Null:
		return nil, nil //nolint:nilnil // null is a value
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		if v > math.MaxInt64 {
			return nil, fmt.Errorf("%d is larger than any number of an object", uint64(v))
		}
		return int64(v), nil
	case types.Double:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, errors.New("the value is no number that JSON can say")
		}
		return float64(v), nil
	case types.String:
		if b.text -= len(v); b.text < 0 {
			return nil, errTooLarge
		}
		return string(v), nil
	case traits.Lister:
		return b.list(v)
	case traits.Mapper:
		return b.fields(v)
	case *types.Err:
		return nil, v
	}
	return nil, fmt.Errorf("a value of type %s has no place in an object", v.Type().TypeName())
}

func (b *budget) list(v traits.Lister) (any, error) {
	out := []any{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		one, err := b.plain(it.Next())
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func (b *budget) fields(v traits.Mapper) (any, error) {
	out := map[string]any{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		key, ok := it.Next().(types.String)
		if !ok {
			return nil, errors.New("the name of a field is no text")
		}
		if b.text -= len(key); b.text < 0 {
			return nil, errTooLarge
		}
		value, _ := v.Find(key)
		one, err := b.plain(value)
		if err != nil {
			return nil, err
		}
		out[string(key)] = one
	}
	return out, nil
}
