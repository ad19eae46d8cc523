package definition

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
)

const (
	// maxExpression is the length of an expression in bytes; the CRD has it too.
	maxExpression = 4096
	// costLimit bounds one evaluation, in CEL's units: a list of a hundred rules costs some thousands.
	costLimit = 200_000
	// evalTimeout bounds it in time.
	evalTimeout = time.Second
	// interruptEach is after how many rounds of a loop the time is looked at.
	interruptEach = 64
)

// language is the CEL that definitions are written in.
type language struct {
	// fields is for values of fields, live for what is read of the object as it is.
	fields, live *cel.Env
}

func newLanguage() (language, error) {
	common := []cel.EnvOption{
		cel.OptionalTypes(), ext.Bindings(),
		cel.ParserRecursionLimit(64), cel.ParserExpressionSizeLimit(maxExpression),
		cel.Variable("object", cel.DynType),
		cel.Variable("apex", cel.StringType), cel.Variable("primary", cel.StringType), cel.Variable("canary", cel.StringType),
		cel.Variable("ns", cel.StringType), cel.Variable("port", cel.IntType),
	}
	live, err := cel.NewEnv(append(common, functions(types.DefaultTypeAdapter)...)...)
	if err != nil {
		return language{}, fmt.Errorf("setting CEL up: %w", err)
	}
	fields, err := live.Extend(
		cel.Variable("self", cel.DynType), cel.Variable("weight", cel.MapType(cel.StringType, cel.IntType)),
		cel.Variable("mirror", cel.IntType), cel.Variable("audience", cel.ListType(cel.DynType)),
	)
	if err != nil {
		return language{}, fmt.Errorf("setting CEL up: %w", err)
	}
	return language{fields: fields, live: live}, nil
}

// expression is one that was compiled. Its zero value is none.
type expression struct{ program cel.Program }

func (e expression) given() bool { return e.program != nil }

// compile checks an expression and limits what it costs. "" is no expression.
func compile(env *cel.Env, text string, want *cel.Type) (expression, error) {
	switch {
	case text == "":
		return expression{}, nil
	case len(text) > maxExpression:
		return expression{}, fmt.Errorf("it has %d bytes, %d are allowed", len(text), maxExpression)
	}
	ast, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		return expression{}, errors.New(oneLine(err.Error()))
	}
	if out := ast.OutputType(); want != nil && !out.IsExactType(want) && !out.IsExactType(cel.DynType) {
		return expression{}, fmt.Errorf("it gives %s where %s is wanted", out, want)
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostTracking(price{}), cel.CostLimit(costLimit),
		cel.InterruptCheckFrequency(interruptEach), cel.CustomDecoratorV2(guard))
	if err != nil {
		return expression{}, errors.New(oneLine(err.Error()))
	}
	return expression{program: program}, nil
}

// eval returns the value as unstructured objects have it.
func (e expression) eval(ctx context.Context, vars map[string]any) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, evalTimeout)
	defer cancel()
	out, _, err := e.program.ContextEval(ctx, vars)
	if err != nil {
		if strings.Contains(err.Error(), "actual cost limit exceeded") {
			return nil, fmt.Errorf("it costs more than %d units: make it simpler, or the object smaller", costLimit)
		}
		return nil, errors.New(oneLine(err.Error()))
	}
	return newBudget().plain(out)
}

// oneLine is CEL's report without the drawing of where it is.
func oneLine(text string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(text, "ERROR: "), "\n")
	return strings.TrimPrefix(first, "<input>:")
}
