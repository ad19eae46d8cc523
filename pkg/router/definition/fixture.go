package definition

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Names of the Services, namespace and port of fixtures.
const (
	fixtureApex      = "finch"
	fixtureNamespace = "aviary"
	fixturePort      = 80
)

// Evidence of fixtures.
const (
	fixtureWritten  = "Written"
	fixtureAccepted = "Accepted"
	fixtureRejected = "Rejected"
)

// Result is what came of one fixture.
type Result struct {
	// Fixture is its name.
	Fixture string
	// Problem says in one line why it failed; "": it passed.
	Problem string
	// Diff shows what is expected and what there is, line by line; "": there is nothing to compare.
	Diff string
}

// Verify runs the fixtures of a definition. Besides what each expects, it is checked that nothing but the declared
// fields is written, that the split can be read back, and that the author's object can be restored exactly. Errors:
// *FieldError, the definition is no good at all.
func Verify(ctx context.Context, def *siskinv1.RouterDefinition) ([]Result, error) {
	d, err := Compile(def)
	if err != nil {
		return nil, err
	}
	out := make([]Result, 0, len(def.Spec.Fixtures))
	for _, f := range def.Spec.Fixtures {
		r := Result{Fixture: f.Name}
		r.Problem, r.Diff = d.try(ctx, f)
		out = append(out, r)
	}
	return out, nil
}

// try runs a fixture.
func (d *Definition) try(ctx context.Context, f siskinv1.RouterFixture) (problem, diff string) {
	obj, err := d.fixtureObject("object", f.Object.Raw)
	if err != nil {
		return err.Error(), ""
	}
	in := fixtureIntent(f)
	if f.Evidence != "" {
		if problem := d.tryEvidence(ctx, obj, in, f.Evidence); problem != "" || f.Expected == nil {
			return problem, ""
		}
	}
	want, err := d.fixtureObject("expected", f.Expected.Raw)
	if err != nil {
		return err.Error(), ""
	}
	if caps := (router.Capabilities{Features: d.features()}); caps.Check(d.Name, in) != nil {
		return caps.Check(d.Name, in).Error(), ""
	}
	if err := d.selectable(in); err != nil {
		return err.Error(), ""
	}
	if _, states, err := d.States(ctx, obj, in); err != nil || !states {
		return fmt.Sprintf("spec.current: nothing in object leads to Service %s: %v", in.Apex, err), ""
	}
	have, err := d.Render(ctx, obj, in)
	if err != nil {
		return err.Error(), ""
	}
	if !equality.Semantic.DeepEqual(have, want) {
		return "the object is not the expected one", lineDiff(document(want), document(have))
	}
	return d.tryBack(ctx, obj, have, in)
}

// tryEvidence reads the answer in an object.
func (d *Definition) tryEvidence(ctx context.Context, obj map[string]any, in router.Intent, want string) string {
	a, err := d.read(ctx, obj, in)
	if err != nil {
		return err.Error()
	}
	have := fixtureWritten
	switch {
	case a.rejected:
		have = fixtureRejected
	case a.accepted:
		have = fixtureAccepted
	}
	if have != want {
		return fmt.Sprintf("the evidence is %s, expected is %s", have, want)
	}
	return ""
}

// tryBack reads the split back, looks for what was written besides, and restores the object.
func (d *Definition) tryBack(
	ctx context.Context, authors, have map[string]any, in router.Intent,
) (problem, diff string) {
	said, states, err := d.States(ctx, have, in)
	switch {
	case err != nil:
		return err.Error(), ""
	case !states || said != in.Split:
		return fmt.Sprintf("spec.current reads %s (known: %t) from the expected object, which says %s",
			said, states, in.Split), ""
	}
	all := d.pointers(in.Apex)
	back := copied(have)
	for _, n := range noted(authors, all) {
		if err := n.restore(back); err != nil {
			return err.Error(), ""
		}
	}
	if !equality.Semantic.DeepEqual(back, authors) {
		diff := lineDiff(document(authors), document(back))
		return "giving the fields of spec.target.writes back does not restore the object", diff
	}
	return "", ""
}

func (d *Definition) fixtureObject(what string, raw []byte) (map[string]any, error) {
	obj, err := decodeObject(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if obj["apiVersion"] != d.Kind.GroupVersion().String() || obj["kind"] != d.Kind.Kind {
		return nil, fmt.Errorf("%s: it is a %v of %v, and the definition is for a %s of %s",
			what, obj["kind"], obj["apiVersion"], d.Kind.Kind, d.Kind.GroupVersion())
	}
	return obj, nil
}

func fixtureIntent(f siskinv1.RouterFixture) router.Intent {
	owner := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: fixtureNamespace, Name: fixtureApex}}
	return router.Intent{
		Owner: owner, Apex: fixtureApex,
		Primary: fixtureApex + "-" + siskinv1.RolePrimary, Canary: fixtureApex + "-" + siskinv1.RoleCanary,
		Port: fixturePort, Audience: f.Match,
		Split: router.Split{Primary: 100 - f.Canary, Canary: f.Canary, Mirror: f.Mirror, Audience: len(f.Match) > 0},
	}
}

func document(obj map[string]any) []string {
	data, err := yaml.Marshal(obj)
	if err != nil {
		return []string{err.Error()}
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// lineDiff shows the lines that only want has with -, and those that only have has with +. All lines are shown:
// objects are short.
func lineDiff(want, have []string) string {
	// longest[i][j] is the length of the longest common part of want[i:] and have[j:].
	longest := make([][]int, len(want)+1)
	for i := range longest {
		longest[i] = make([]int, len(have)+1)
	}
	for i, w := range slices.Backward(want) {
		for j, h := range slices.Backward(have) {
			if w == h {
				longest[i][j] = longest[i+1][j+1] + 1
			} else {
				longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(want) && j < len(have) {
		switch {
		case want[i] == have[j]:
			out = append(out, "  "+want[i])
			i, j = i+1, j+1
		case longest[i+1][j] >= longest[i][j+1]:
			out = append(out, "- "+want[i])
			i++
		default:
			out = append(out, "+ "+have[j])
			j++
		}
	}
	for _, line := range want[i:] {
		out = append(out, "- "+line)
	}
	for _, line := range have[j:] {
		out = append(out, "+ "+line)
	}
	return strings.Join(slices.Clip(out), "\n")
}
