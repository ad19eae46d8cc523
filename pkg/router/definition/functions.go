package definition

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// functions are what expressions can do besides the standard of CEL and its optional values. CEL's own libraries of
// lists and strings are left out: they copy whole lists before anybody counts what that costs.
func functions(adapter types.Adapter) []cel.EnvOption {
	return []cel.EnvOption{
		// map.with(map): the first with the fields of the second; null takes a field away.
		cel.Function("with", cel.MemberOverload("map_with_map", []*cel.Type{cel.DynType, cel.DynType}, cel.DynType,
			cel.BinaryBinding(func(a, b ref.Val) ref.Val { return bounded(adapter, merged, a, b) }))),
		// list.merged(): one object with the fields of all.
		cel.Function("merged", cel.MemberOverload("list_merged", []*cel.Type{cel.DynType}, cel.DynType,
			cel.UnaryBinding(func(a ref.Val) ref.Val { return bounded(adapter, united, a) }))),
		// list.flatten(): the elements of its elements that are lists, and the others.
		cel.Function("flatten", cel.MemberOverload("list_flatten", []*cel.Type{cel.DynType}, cel.ListType(cel.DynType),
			cel.UnaryBinding(func(a ref.Val) ref.Val { return bounded(adapter, flattened, a) }))),
		// list.sum(): of its numbers; 0 if there are none.
		cel.Function("sum", cel.MemberOverload("list_sum", []*cel.Type{cel.DynType}, cel.DynType,
			cel.UnaryBinding(func(a ref.Val) ref.Val { return bounded(adapter, summed, a) }))),
		// list.join(separator)
		cel.Function("join", cel.MemberOverload("list_join_string", []*cel.Type{cel.DynType, cel.StringType}, cel.StringType,
			cel.BinaryBinding(func(a, b ref.Val) ref.Val { return bounded(adapter, joined, a, b) }))),
		// parseJSON(string) and toJSON(value): for annotations that are JSON.
		cel.Function("parseJSON", cel.Overload("parse_json_string", []*cel.Type{cel.DynType}, cel.DynType,
			cel.UnaryBinding(func(a ref.Val) ref.Val { return bounded(adapter, parsed, a) }))),
		cel.Function("toJSON", cel.Overload("to_json_dyn", []*cel.Type{cel.DynType}, cel.StringType,
			cel.UnaryBinding(func(a ref.Val) ref.Val { return bounded(adapter, printed, a) }))),
		// string.lowerAscii()
		cel.Function("lowerAscii", cel.MemberOverload("string_lower_ascii", []*cel.Type{cel.StringType}, cel.StringType,
			cel.UnaryBinding(func(a ref.Val) ref.Val { return bounded(adapter, lowered, a) }))),
		// regexQuote(string): a regular expression that matches the text and nothing else.
		cel.Function("regexQuote", cel.Overload("regex_quote_string", []*cel.Type{cel.StringType}, cel.StringType,
			cel.UnaryBinding(func(a ref.Val) ref.Val { return bounded(adapter, quoted, a) }))),
	}
}

// bounded calls f with plain values within a budget.
func bounded(adapter types.Adapter, f func(args ...any) (any, error), args ...ref.Val) ref.Val { //nolint:ireturn // CEL asks for it
	b, in := newBudget(), make([]any, len(args))
	for i, arg := range args {
		one, err := b.plain(arg)
		if err != nil {
			return types.WrapErr(err)
		}
		in[i] = one
	}
	out, err := f(in...)
	if err != nil {
		return types.WrapErr(err)
	}
	return adapter.NativeToValue(out)
}

func merged(args ...any) (any, error) {
	base, ok := args[0].(map[string]any)
	over, also := args[1].(map[string]any)
	if !ok || !also {
		return nil, errors.New("with needs an object and an object of fields")
	}
	out := make(map[string]any, len(base)+len(over))
	maps.Copy(out, base)
	for k, v := range over {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = v
	}
	return out, nil
}

func united(args ...any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, errors.New("merged needs a list of objects")
	}
	out := map[string]any{}
	for _, one := range list {
		fields, ok := one.(map[string]any)
		if !ok {
			return nil, errors.New("merged needs a list of objects")
		}
		maps.Copy(out, fields)
	}
	return out, nil
}

func flattened(args ...any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, errors.New("flatten needs a list")
	}
	out := []any{}
	for _, one := range list {
		if inner, ok := one.([]any); ok {
			out = append(out, inner...)
			continue
		}
		out = append(out, one)
	}
	return out, nil
}

func summed(args ...any) (any, error) {
	list, ok := args[0].([]any)
	if !ok {
		return nil, errors.New("sum needs a list")
	}
	var whole int64
	var part float64
	decimal := false
	for _, one := range list {
		switch n := one.(type) {
		case int64:
			whole += n
		case float64:
			part, decimal = part+n, true
		default:
			return nil, errors.New("sum needs a list of numbers")
		}
	}
	if decimal {
		return part + float64(whole), nil
	}
	return whole, nil
}

func joined(args ...any) (any, error) {
	list, ok := args[0].([]any)
	separator, also := args[1].(string)
	if !ok || !also || len(separator)*len(list) > maxText {
		return nil, errors.New("join needs a list of texts and a short text")
	}
	out := make([]string, len(list))
	for i, one := range list {
		text, ok := one.(string)
		if !ok {
			return nil, errors.New("join needs a list of texts")
		}
		out[i] = text
	}
	return strings.Join(out, separator), nil
}

func parsed(args ...any) (any, error) {
	text, ok := args[0].(string)
	if !ok {
		return nil, errors.New("parseJSON needs a text")
	}
	out, err := decode([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("the text is no JSON: %w", err)
	}
	return out, nil
}

// printed leaves <, > and & as they are, which Go escapes for the sake of HTML.
func printed(args ...any) (any, error) {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(args[0]); err != nil {
		return nil, fmt.Errorf("the value is no JSON: %w", err)
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

func lowered(args ...any) (any, error) {
	text, _ := args[0].(string)
	return strings.ToLower(text), nil
}

func quoted(args ...any) (any, error) {
	text, _ := args[0].(string)
	return regexp.QuoteMeta(text), nil
}

// price is what calls cost whose cost CEL does not know: those of functions, by the size of what they take and give,
// and lists that are put together, which CEL does at once and goes through later.
type price struct{}

// CallCost implements interpreter.ActualCostEstimator.
func (price) CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	switch function {
	case "with", "merged", "flatten", "sum", "join", "parseJSON", "toJSON", "lowerAscii", "regexQuote":
		return new(1 + weigh(args...) + weigh(result))
	}
	if overload == overloads.AddList {
		return new(1 + weigh(result))
	}
	return nil
}

func weigh(values ...ref.Val) uint64 {
	var out uint64
	for _, v := range values {
		if sized, ok := v.(traits.Sizer); ok {
			if n, ok := sized.Size().(types.Int); ok && n > 0 {
				out += uint64(n)
			}
		}
	}
	return out
}
