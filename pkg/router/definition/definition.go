package definition

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/runtime/schema"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

const (
	// maxObject is the largest object that is read, in bytes of JSON.
	maxObject = 1 << 20
	// maxSettle is the longest settle time.
	maxSettle = 10 * time.Minute
	// defaultSum of the weights.
	defaultSum = 100
)

// Definition is a RouterDefinition whose expressions were compiled.
type Definition struct {
	// Name is the provider.
	Name string
	// Kind of the objects that carry the split, and the Resource that RBAC knows it by.
	Kind     schema.GroupVersionKind
	Resource string
	// ByRef tells that the Canary must name the object; else one that names none has it named like the apex.
	ByRef bool

	sum      int64
	weights  []field
	mirror   []field
	part     bool
	audience []field
	headers  []string
	cookies  []string
	current  expression
	accepted expression
	rejected expression
	message  expression
	settle   time.Duration
}

// field is a RouterField that was compiled.
type field struct {
	at    pointer
	value expression
	where string // in the RouterDefinition
}

// FieldError tells what is wrong with a field of a RouterDefinition.
type FieldError struct {
	// Field of the RouterDefinition, such as "spec.weights.fields[0].value".
	Field string
	// Message says what is wrong with it.
	Message string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

func wrong(at, format string, args ...any) error {
	return &FieldError{Field: at, Message: fmt.Sprintf(format, args...)}
}

// Compile makes a RouterDefinition usable. It reads nothing. Errors: *FieldError.
func Compile(def *siskinv1.RouterDefinition) (*Definition, error) {
	lang, err := newLanguage()
	if err != nil {
		return nil, err
	}
	spec := &def.Spec
	gv, err := schema.ParseGroupVersion(spec.Target.APIVersion)
	if err != nil || gv.Group == "" || gv.Version == "" {
		return nil, wrong("spec.target.apiVersion", "%q has no group or no version: objects of the core group are no routes",
			spec.Target.APIVersion)
	}
	if slices.Contains(notRoutes(), gv.Group) {
		return nil, wrong("spec.target.apiVersion", "objects of group %s are no routes", gv.Group)
	}
	d := &Definition{
		Name: def.Name, Kind: gv.WithKind(spec.Target.Kind), Resource: spec.Target.Resource,
		ByRef: spec.Target.NameFrom == "RouteRef",
		sum:   int64(spec.Weights.Sum),
	}
	if d.sum == 0 {
		d.sum = defaultSum
	}
	if d.sum < defaultSum || d.sum%100 != 0 || d.sum > 1_000_000 {
		return nil, wrong("spec.weights.sum", "%d is no multiple of 100 from 100 to 1000000", d.sum)
	}
	c := compiler{lang: lang, def: def}
	c.writes()
	d.weights = c.fields("spec.weights.fields", spec.Weights.Fields)
	if spec.Mirror != nil {
		d.mirror, d.part = c.fields("spec.mirror.fields", spec.Mirror.Fields), spec.Mirror.Part
	}
	if spec.Audience != nil {
		d.audience = c.fields("spec.audience.fields", spec.Audience.Fields)
		d.headers, d.cookies = spec.Audience.Headers, spec.Audience.Cookies
	}
	d.current = c.expression(lang.live, "spec.current", spec.Current, nil)
	if spec.Status != nil {
		d.accepted = c.expression(lang.live, "spec.status.accepted", spec.Status.Accepted, cel.BoolType)
		d.rejected = c.expression(lang.live, "spec.status.rejected", spec.Status.Rejected, cel.BoolType)
		d.message = c.expression(lang.live, "spec.status.message", spec.Status.Message, cel.StringType)
	}
	d.settle = c.settle()
	return d, c.complete(d)
}

// notRoutes are groups whose objects carry no traffic, and would be dangerous to write by a recipe.
func notRoutes() []string {
	return []string{
		"apps", siskinv1.GroupVersion.Group, "rbac.authorization.k8s.io", "admissionregistration.k8s.io",
		"apiextensions.k8s.io",
	}
}

// compiler keeps the first thing that is wrong.
type compiler struct {
	lang    language
	def     *siskinv1.RouterDefinition
	allowed []pointer
	err     error
}

func (c *compiler) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// writes reads what may be written.
func (c *compiler) writes() {
	for i, text := range c.def.Spec.Target.Writes {
		p, err := parsePointer(text)
		if err != nil {
			c.fail(wrong(fmt.Sprintf("spec.target.writes[%d]", i), "%v", err))
			continue
		}
		c.allowed = append(c.allowed, p)
	}
}

func (c *compiler) fields(at string, all []siskinv1.RouterField) []field {
	out := make([]field, 0, len(all))
	for i, f := range all {
		where := fmt.Sprintf("%s[%d]", at, i)
		p, err := parsePointer(f.Pointer)
		if err != nil {
			c.fail(wrong(where+".pointer", "%v", err))
			continue
		}
		if !slices.ContainsFunc(c.allowed, p.within) {
			c.fail(wrong(where+".pointer", "%s is outside of spec.target.writes, %v: declare it there if it is to be written",
				f.Pointer, c.def.Spec.Target.Writes))
			continue
		}
		out = append(out, field{at: p, where: where, value: c.expression(c.lang.fields, where+".value", f.Value, nil)})
	}
	return out
}

func (c *compiler) expression(env *cel.Env, at, text string, want *cel.Type) expression {
	out, err := compile(env, text, want)
	if err != nil {
		c.fail(wrong(at, "%v: correct the expression", err))
	}
	return out
}

func (c *compiler) settle() time.Duration {
	text := c.def.Spec.Settle
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxSettle {
		c.fail(wrong("spec.settle", "%q is no duration from 0s to %s", text, maxSettle))
	}
	return d
}

// complete tells what is wrong, or what there is too little of.
func (c *compiler) complete(d *Definition) error {
	switch {
	case c.err != nil:
		return c.err
	case len(d.weights) == 0:
		return wrong("spec.weights.fields", "nothing says the weights: give at least one field")
	case !d.current.given():
		return wrong("spec.current", "nothing tells what the object says: give an expression")
	case c.def.Spec.Status == nil && d.settle == 0:
		return wrong("spec.settle", "nothing tells when the data plane follows: give spec.status.accepted, or spec.settle")
	case c.def.Spec.Status != nil && !d.accepted.given():
		return wrong("spec.status.accepted", "it is empty: give an expression, or leave spec.status out and give spec.settle")
	}
	return nil
}

// features are what the definition can say.
func (d *Definition) features() router.Features {
	out := router.Features{}.With(router.Yes, router.FeatureWeights)
	if len(d.mirror) > 0 {
		out = out.With(router.Yes, router.FeatureMirror)
		if d.part {
			out = out.With(router.Yes, router.FeatureMirrorPart)
		}
	}
	if len(d.headers) > 0 {
		out = out.With(router.Yes, router.FeatureMatchHeader)
	}
	if len(d.cookies) > 0 {
		out = out.With(router.Yes, router.FeatureMatchCookie)
	}
	return out
}

// names are the Services that an intent is about, as expressions know them.
func names(in router.Intent) map[string]any {
	namespace := ""
	if in.Owner != nil {
		namespace = in.Owner.Namespace
	}
	return map[string]any{
		"apex": in.Apex, "primary": in.Primary, "canary": in.Canary, "ns": namespace, "port": int64(in.Port),
	}
}

// RenderError tells that an expression has no value for an object.
type RenderError struct {
	// Field of the RouterDefinition.
	Field string
	// Message says what is wrong.
	Message string
}

func (e *RenderError) Error() string { return e.Field + ": " + e.Message }

// Render returns the object with the split of an intent; authors is the object as its author wants it, and is not
// changed. Errors: *RenderError.
func (d *Definition) Render(ctx context.Context, authors map[string]any, in router.Intent) (map[string]any, error) {
	out := copied(authors)
	delete(out, "status")
	vars := names(in)
	vars["object"] = copied(out)
	vars["weight"] = map[string]int64{
		"primary": d.weight(in.Split.Primary), "canary": d.weight(in.Split.Canary), "sum": d.sum,
	}
	vars["mirror"], vars["audience"] = int64(in.Split.Mirror), audience(in)
	steps := [][]field{d.weights}
	if in.Split.Mirror > 0 {
		steps = append(steps, d.mirror)
	}
	if in.Split.Audience {
		steps = append(steps, d.audience)
	}
	for _, step := range steps {
		for _, f := range step {
			if err := f.write(ctx, out, vars, in.Apex); err != nil {
				return nil, err
			}
		}
	}
	if size := jsonSize(out); size > maxObject {
		return nil, &RenderError{
			Field: "spec", Message: fmt.Sprintf("the object would have %d bytes, %d are allowed", size, maxObject),
		}
	}
	if status, ok := authors["status"]; ok {
		out["status"] = status
	}
	return out, nil
}

// write makes a field of obj say what it is to say.
func (f field) write(ctx context.Context, obj, vars map[string]any, apex string) error {
	at := f.at.of(apex)
	self, _ := at.get(obj)
	vars["self"] = self
	value, err := f.value.eval(ctx, vars)
	if err != nil {
		return &RenderError{Field: f.where + ".value", Message: err.Error()}
	}
	if f.at[0] == "metadata" && value != nil {
		if _, ok := value.(string); !ok {
			return &RenderError{
				Field: f.where + ".value", Message: "an annotation is text: give a string, for example with toJSON",
			}
		}
	}
	if value == nil {
		at.unset(obj)
		return nil
	}
	if err := at.set(obj, value); err != nil {
		return &RenderError{Field: f.where + ".pointer", Message: err.Error()}
	}
	return nil
}

func (d *Definition) weight(percent int32) int64 { return int64(percent) * d.sum / 100 }

// pointers are all that the definition may write for an intent's apex, each once.
func (d *Definition) pointers(apex string) []pointer {
	var out []pointer
	for _, f := range slices.Concat(d.weights, d.mirror, d.audience) {
		p := f.at.of(apex)
		if !slices.ContainsFunc(out, p.within) {
			out = append(slices.DeleteFunc(out, func(other pointer) bool { return other.within(p) }), p)
		}
	}
	return out
}

// copied is a deep copy of JSON.
func copied(obj map[string]any) map[string]any {
	out := make(map[string]any, len(obj))
	for k, v := range obj {
		out[k] = copiedValue(v)
	}
	return out
}

func copiedValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return copied(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = copiedValue(v[i])
		}
		return out
	}
	return v
}

func jsonSize(v any) int {
	data, err := json.Marshal(v)
	if err != nil {
		return maxObject + 1
	}
	return len(data)
}
