package definition

import (
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// guard keeps comparisons from going through values that share their parts: a list of lists of one list is small to
// make and endless to compare, and CEL counts what that costs when all is done.
func guard(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) { //nolint:ireturn // CEL asks for it
	call, ok := i.(interpreter.InterpretableCall)
	if !ok || len(call.Args()) != 2 {
		return i, nil
	}
	switch call.Function() {
	case operators.Equals, operators.NotEquals, operators.In, operators.OldIn:
		return guarded{call}, nil
	}
	return i, nil
}

// guarded is a comparison of values that are small enough.
type guarded struct{ interpreter.InterpretableCall }

// Eval implements interpreter.Interpretable.
//
//nolint:ireturn // CEL asks for it
func (g guarded) Eval(a interpreter.Activation) ref.Val { return g.Exec(interpreter.AsFrame(a)) }

// Exec implements interpreter.InterpretableV2.
//
//nolint:ireturn // CEL asks for it
func (g guarded) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	var values [2]ref.Val
	for i, arg := range g.Args() {
		values[i] = arg.Exec(frame)
		if types.IsUnknownOrError(values[i]) {
			return values[i]
		}
		if !small(values[i]) {
			return types.WrapErr(errTooLarge)
		}
	}
	switch g.Function() {
	case operators.Equals:
		return types.Equal(values[0], values[1])
	case operators.NotEquals:
		return types.Bool(types.Equal(values[0], values[1]) != types.True)
	}
	all, ok := values[1].(traits.Container)
	if !ok {
		return types.MaybeNoSuchOverloadErr(values[1])
	}
	return all.Contains(values[0])
}

// small reports whether a value can be gone through.
func small(v ref.Val) bool {
	switch v.(type) {
	case traits.Lister, traits.Mapper:
		_, err := newBudget().plain(v)
		return err == nil
	}
	return true
}
