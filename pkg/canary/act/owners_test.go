package act

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

func TestWhoOwnsWhatSiskinWrote(t *testing.T) {
	entry := func(manager string, operation metav1.ManagedFieldsOperationType, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
	}
	const template = `{"f:spec":{"f:template":{"f:spec":{"f:dnsPolicy":{}}}}}`
	git := entry("git", metav1.ManagedFieldsOperationApply, template)
	scaler := entry("scaler", metav1.ManagedFieldsOperationApply, `{"f:spec":{"f:replicas":{}}}`)
	own := entry(siskinv1.FieldManager, metav1.ManagedFieldsOperationApply, `{"f:metadata":{"f:annotations":{"f:siskin.dev/held":{}}}}`)
	wrote := entry(siskinv1.FieldManager, metav1.ManagedFieldsOperationUpdate,
		`{"f:metadata":{"f:annotations":{"f:siskin.dev/restored":{}}},"f:spec":{"f:paused":{},"f:template":{"f:spec":{"f:hostname":{}}}}}`)
	status := entry("kube-controller-manager", metav1.ManagedFieldsOperationUpdate, `{"f:status":{}}`)
	status.Subresource = "status"
	for name, tc := range map[string]struct {
		reason string
		before []metav1.ManagedFieldsEntry
		want   map[string]string
	}{
		"git applies it": {
			"it takes away what it does not have, and nothing but that",
			[]metav1.ManagedFieldsEntry{scaler, git, own, status},
			map[string]string{
				"git": `{"f:spec":{"f:template":{"f:spec":{"f:dnsPolicy":{},"f:hostname":{}}}}}`, "scaler": `{"f:spec":{"f:replicas":{}}}`,
				siskinv1.FieldManager: `{"f:metadata":{"f:annotations":{"f:siskin.dev/held":{}}}}`,
			},
		},
		"nobody applies it": {
			"nobody owns it",
			[]metav1.ManagedFieldsEntry{entry("kubectl", metav1.ManagedFieldsOperationUpdate, template), own},
			map[string]string{"kubectl": template, siskinv1.FieldManager: `{"f:metadata":{"f:annotations":{"f:siskin.dev/held":{}}}}`},
		},
		"what Siskin wrote before": {"that is nobody's either", []metav1.ManagedFieldsEntry{wrote}, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			owners, err := inherited(tc.before, append([]metav1.ManagedFieldsEntry{wrote}, tc.before...))
			if err != nil || len(owners) != len(tc.want) {
				t.Fatalf("%s: %v, %v", tc.reason, owners, err)
			}
			for _, o := range owners {
				if got := string(o.FieldsV1.GetRawBytes()); got != tc.want[o.Manager] {
					t.Errorf("%s: %s owns %s, not %s", tc.reason, o.Manager, got, tc.want[o.Manager])
				}
			}
		})
	}
	broken := entry("git", metav1.ManagedFieldsOperationApply, `{"x`)
	if _, err := inherited([]metav1.ManagedFieldsEntry{broken}, nil); err == nil {
		t.Error("what cannot be read is not owned by nobody")
	}
}
