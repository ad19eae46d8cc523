package gitsync

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/internal/restored"
)

// The deletion of a Canary gave its target app:1 back. git goes on saying app:2, and then something else.
func TestATargetThatADeletionRestoredIsToldAndNotFoughtOver(t *testing.T) {
	w := newWorld(t)
	deploy := func(image string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app, namespace: siskin}\nspec:\n  selector: {matchLabels: {app: app}}\n" +
			"  template: {metadata: {labels: {app: app}}, spec: {containers: [{name: app, image: '" + image + "'}]}}\n"
	}
	image := func() string {
		t.Helper()
		return w.deployment().Spec.Template.Spec.Containers[0].Image
	}
	w.git.commit(map[string]string{"app.yaml": deploy("app:2")})
	w.reconcile()
	w.told()
	d := w.deployment()
	was := *d.Spec.Template.DeepCopy()
	d.Spec.Template.Spec.Containers[0].Image = "app:1"
	d.Annotations[siskinv1.RestoredFromAnnotation] = restored.Note(was, d.Spec.Template)
	if err := w.cluster.Update(t.Context(), d, client.FieldOwner(siskinv1.FieldManager)); err != nil {
		t.Fatal(err)
	}

	w.clock.Step(10 * time.Minute) // it is compared with git
	gs := w.reconcile()
	told := w.told()
	if image() != "app:1" || !strings.Contains(ready(gs).Message, "Deployment siskin/app") || !strings.Contains(ready(gs).Message, siskinv1.RestoredFromAnnotation) {
		t.Errorf("image %s: %s", image(), ready(gs).Message)
	}
	if len(told) != 1 || !strings.HasPrefix(told[0], "Warning TemplateKept") {
		t.Errorf("told %v", told)
	}
	for range 20 { // nobody is told again, whether it is compared or not
		w.clock.Step(time.Minute)
		gs = w.reconcile()
	}
	if told := w.told(); len(told) > 0 || image() != "app:1" || !strings.Contains(ready(gs).Message, "Deployment siskin/app") {
		t.Errorf("told %v, image %s: %s", told, image(), ready(gs).Message)
	}
	w.git.commit(map[string]string{"app.yaml": deploy("app:3")})
	if gs = w.reconcile(); image() != "app:3" || strings.Contains(ready(gs).Message, "Deployment") {
		t.Errorf("image %s: %s", image(), ready(gs).Message)
	}
}

func (w *world) deployment() *appsv1.Deployment {
	w.t.Helper()
	var d appsv1.Deployment
	if err := w.cluster.Get(w.t.Context(), types.NamespacedName{Namespace: "siskin", Name: "app"}, &d); err != nil {
		w.t.Fatal(err)
	}
	return &d
}
