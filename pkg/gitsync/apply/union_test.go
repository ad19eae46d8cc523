package apply

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/siskin-dev/siskin/pkg/gitsync/apply/applytest"
)

// switching is a Deployment as the API server has it: strategy and the source of a volume were filled in, and nobody
// owns them. others are the managed fields of somebody else.
func switching(others string) string {
	return `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  managedFields:
  - {manager: siskin-gitsync, operation: Apply, apiVersion: apps/v1, fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:template": {"f:spec": {
      "f:volumes": {'k:{"name":"data"}': {".": {}, "f:name": {}}, 'k:{"name":"own"}': {".": {}, "f:name": {}, "f:emptyDir": {}}}}}}}}
  - {manager: other, operation: Update, apiVersion: apps/v1, fieldsType: FieldsV1, fieldsV1: {` + others + `}}
spec:
  progressDeadlineSeconds: 600
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%}}
  template:
    spec:
      volumes:
      - {name: own, emptyDir: {}}
      - {name: foreign, emptyDir: {}}
      - {name: data, emptyDir: {}}
`
}

const switched = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  strategy: {type: Recreate, rollingUpdate: null}
  template: {spec: {volumes: [{name: data, configMap: {name: c}}, {name: own, secret: {secretName: s}}]}}
`

func TestClaims(t *testing.T) {
	spec := field.NewPath("spec")
	rolling := field.Forbidden(spec.Child("strategy", "rollingUpdate"), "not with Recreate")
	source := field.Forbidden(spec.Child("template", "spec", "volumes").Index(0).Child("configMap"), "may not specify more than 1 volume type")
	const marked = `{"f:spec":{%s"f:template":{"f:spec":{"f:volumes":{"k:{\"name\":\"data\"}":{".":{},%s"f:name":{}},"k:{\"name\":\"own\"}":{".":{},"f:emptyDir":{},"f:name":{}}}}}}}`
	for name, c := range map[string]struct {
		others string
		causes field.ErrorList
		want   [2]string // what is marked of the strategy and of the volume
		held   string
	}{
		"the field that is named":                {causes: field.ErrorList{rolling}, want: [2]string{`"f:strategy":{"f:rollingUpdate":{}},`, ""}},
		"the neighbour of the one that is named": {causes: field.ErrorList{source}, want: [2]string{"", `"f:emptyDir":{},`}},
		"both, one after the other":              {causes: field.ErrorList{rolling, source}, want: [2]string{`"f:strategy":{"f:rollingUpdate":{}},`, ""}},
		"what lies in it belongs to somebody": {
			others: `"f:spec": {"f:strategy": {"f:rollingUpdate": {"f:maxSurge": {}}}}`, causes: field.ErrorList{rolling},
			held: "spec.strategy.rollingUpdate is not in git, and other owns it",
		},
		"all of it belongs to somebody": {
			others: `"f:spec": {"f:strategy": {}}`, causes: field.ErrorList{rolling}, held: "spec.strategy.rollingUpdate is not in git, and other owns it",
		},
		"an element's belongs to somebody": {
			others: `"f:spec": {"f:template": {"f:spec": {"f:volumes": {'k:{"name":"data"}': {"f:emptyDir": {}}}}}}`, causes: field.ErrorList{source},
			held: "spec.template.spec.volumes[name=data].emptyDir is not in git, and other owns it",
		},
		"another reason":                {causes: field.ErrorList{field.Invalid(spec.Child("replicas"), -1, "must not be negative")}},
		"a neighbour of another reason": {causes: field.ErrorList{field.Invalid(spec.Child("template", "spec", "volumes").Index(0).Child("name"), "x", "bad")}},
		"directly in spec":              {causes: field.ErrorList{field.Forbidden(spec.Child("selector"), "immutable")}},
		"metadata":                      {causes: field.ErrorList{field.Forbidden(field.NewPath("metadata", "name"), "immutable")}},
	} {
		t.Run(name, func(t *testing.T) {
			live, desired := applytest.Object(t, switching(c.others)), applytest.Object(t, switched)
			entries, held := claims(desired, live, apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "web", c.causes))
			if diff := cmp.Diff(c.held, strings.Join(held, ", ")); diff != "" {
				t.Error(diff)
			}
			got := ""
			if len(entries) > 0 {
				got = string(entries[0].FieldsV1.GetRawBytes())
			}
			want := ""
			if c.want != [2]string{} {
				want = strings.Replace(strings.Replace(marked, "%s", c.want[0], 1), "%s", c.want[1], 1)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if _, null := desired.Object["spec"].(map[string]any)["strategy"].(map[string]any)["rollingUpdate"]; null == (c.want[0] != "") {
				t.Errorf("git's null stays: %v", null)
			}
		})
	}
}

// An object that GitSync has never applied gets an entry of its own.
func TestClaimsOfAnObjectOfOthers(t *testing.T) {
	live, desired := applytest.Object(t, switching("")), applytest.Object(t, switched)
	live.SetManagedFields(live.GetManagedFields()[1:])
	refusal := apierrors.NewInvalid(schema.GroupKind{Group: "apps", Kind: "Deployment"}, "web", field.ErrorList{field.Forbidden(field.NewPath("spec", "strategy", "rollingUpdate"), "")})
	entries, _ := claims(desired, live, refusal)
	if len(entries) != 2 || entries[1].Manager != "siskin-gitsync" || string(entries[1].FieldsV1.GetRawBytes()) != `{"f:spec":{"f:strategy":{"f:rollingUpdate":{}}}}` {
		t.Errorf("entries %+v", entries)
	}
}
