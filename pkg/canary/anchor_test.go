package canary_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary"
	"github.com/siskin-dev/siskin/pkg/internal/ssa"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
)

// What a Canary owns is owned by its target too, however it is written; what it does not own is left alone.
func TestWhatACanaryOwnsHasAnAnchor(t *testing.T) {
	owner := &siskinv1.Canary{ObjectMeta: metav1.ObjectMeta{Name: "finch", Namespace: "aviary", UID: "canary-uid"}}
	owner.Spec.TargetRef = siskinv1.TargetRef{Kind: "Deployment", Name: "web"}
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "aviary", UID: "web-uid"}}
	leaving := web.DeepCopy()
	leaving.DeletionTimestamp, leaving.Finalizers = &metav1.Time{Time: metav1.Now().Time}, []string{"example.org/held"}
	mine := []metav1.OwnerReference{*metav1.NewControllerRef(owner, siskinv1.GroupVersion.WithKind("Canary"))}
	earlier := []metav1.OwnerReference{mine[0]}
	earlier[0].UID = "another-uid"
	svc := func(owners []metav1.OwnerReference) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "aviary", OwnerReferences: owners},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		}
	}
	for name, tt := range map[string]struct {
		reason string
		owners []metav1.OwnerReference
		target client.Object
		want   int
	}{
		"the Canary's":          {"it stays in a foreground deletion", mine, web, 2},
		"nobody's":              {"it is not Siskin's", nil, web, 0},
		"an earlier Canary's":   {"it goes with that", earlier, web, 1},
		"no target":             {"nothing is to be restored", mine, nil, 1},
		"a target that goes":    {"it is not to be outlived", mine, leaving, 1},
		"another kind of owner": {"it is not Siskin's", []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "p"}}, web, 1},
	} {
		t.Run(name, func(t *testing.T) {
			objs := []client.Object{owner}
			if tt.target != nil {
				objs = append(objs, tt.target)
			}
			for how, write := range map[string]func(c client.Client) error{
				"apply":  func(c client.Client) error { return ssa.Apply(t.Context(), c, svc(tt.owners), &corev1.Service{}) },
				"create": func(c client.Client) error { return c.Create(t.Context(), svc(tt.owners)) },
				"update": func(c client.Client) error {
					if err := c.Create(t.Context(), svc(nil)); err != nil {
						return err
					}
					return c.Update(t.Context(), svc(tt.owners))
				},
			} {
				c := canary.Anchored(routertest.NewClient(t, objs...))
				if err := write(c); err != nil {
					t.Fatal(err)
				}
				var got corev1.Service
				if err := c.Get(t.Context(), client.ObjectKey{Namespace: "aviary", Name: "x"}, &got); err != nil {
					t.Fatal(err)
				}
				if len(got.OwnerReferences) != tt.want || tt.want == 2 && (got.OwnerReferences[1].UID != "web-uid" || got.OwnerReferences[1].Controller != nil) {
					t.Errorf("%s: owners %v, want %d: %s", how, got.OwnerReferences, tt.want, tt.reason)
				}
			}
		})
	}
}
