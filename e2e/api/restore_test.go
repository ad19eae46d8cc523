package api_test

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/act"
	"github.com/siskin-dev/siskin/pkg/canary/observe"
	"github.com/siskin-dev/siskin/pkg/canary/plan"
	"github.com/siskin-dev/siskin/pkg/canary/target"
	gitapply "github.com/siskin-dev/siskin/pkg/gitsync/apply"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

// TestWhoeverAppliesARestoredTargetMeetsNoConflict : a deletion gives the target the promoted content; the next apply
// of what git says, without force, gets through, and leaves nothing of the promoted content that git does not have.
func TestWhoeverAppliesARestoredTargetMeetsNoConflict(t *testing.T) {
	e := given(t)
	ns := e.Namespace(t)
	asGit := func(image, env string) string {
		return strings.Replace(deployment("3", ""), `image: "siskin.dev/pause:1"`, `image: "siskin.dev/pause:`+image+`", env: [`+env+`]`, 1)
	}
	good := asGit("1", "{name: MODE, value: a}, {name: OLD, value: b}")
	bad := asGit("2", "{name: MODE, value: c}")
	read := func() *appsv1.Deployment {
		t.Helper()
		var d appsv1.Deployment
		if err := e.API.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "finch"}, &d); err != nil {
			t.Fatal(err)
		}
		return &d
	}
	c := &siskinv1.Canary{}
	c.Name, c.Namespace, c.UID, c.Spec.TargetRef.Kind = "finch", ns, "u", "Deployment"
	actor := &act.Actor{Client: e.API, Live: e.API, Services: service.New(e.API, e.API), Memo: act.NewServiceMemo()}
	snapshots := map[string]*appsv1.ControllerRevision{}
	do := func(effect plan.Effect) {
		t.Helper()
		for range 100 { // its own controller writes its status meanwhile: then it is looked at again
			out, err := actor.Run(t.Context(), &observe.World{Canary: c, Target: read(), Snapshots: snapshots}, []plan.Effect{effect})
			switch {
			case apierrors.IsConflict(err):
			case err != nil:
				t.Fatal(err)
			case out.Later == 0:
				return
			}
		}
		t.Fatalf("%T did not get through in 100 tries", effect)
	}
	applied := func(want, manifest string) {
		t.Helper()
		if err := e.API.Apply(t.Context(), config(parsed(t, manifest), ns), client.FieldOwner(siskinv1.GitSyncFieldManager)); err != nil {
			t.Fatalf("applying %s without force: %v", want, err)
		}
	}

	apply(t, e, ns, siskinv1.GitSyncFieldManager, good)
	var err error
	if snapshots["r1"], err = target.Snapshot(c, "r1", 1, target.From(read())); err != nil {
		t.Fatal(err)
	}
	apply(t, e, ns, siskinv1.GitSyncFieldManager, bad)
	do(plan.HoldTarget{Replicas: 3})
	do(plan.RestoreTarget{Revision: "r1"})
	do(plan.ReleaseTarget{Replicas: 3})
	d := read()
	if app := d.Spec.Template.Spec.Containers[0]; app.Image != "siskin.dev/pause:1" || len(app.Env) != 2 || *d.Spec.Replicas != 3 {
		t.Errorf("the target was given image %s, %v, %d replicas", app.Image, app.Env, *d.Spec.Replicas)
	}
	if d.Annotations[siskinv1.HeldAnnotation] != "" || d.Annotations[siskinv1.RestoredAnnotation] != "r1" {
		t.Errorf("annotations %v", d.Annotations)
	}
	for _, m := range d.ManagedFields {
		if m.Manager == siskinv1.FieldManager && strings.Contains(string(m.FieldsV1.GetRawBytes()), "f:template") {
			t.Errorf("Siskin owns what git is to change: %s", m.FieldsV1.GetRawBytes())
		}
	}
	sync := &gitapply.Applier{Client: e.API, Clock: clock.RealClock{}}
	var done gitapply.Result
	for range 20 { // its own controller writes its status meanwhile: GitSync tries again
		done = sync.Apply(t.Context(), []*unstructured.Unstructured{unstructuredIn(parsed(t, bad), ns)}, types.NamespacedName{Namespace: ns, Name: "app"},
			gitapply.Stamp{Revision: "main@sha1:1"}, time.Minute)
		if len(done.Failures) == 0 {
			break
		}
	}
	if len(done.Failures) > 0 || len(done.Changes) != 1 || !done.Changes[0].Kept || read().Spec.Template.Spec.Containers[0].Image != "siskin.dev/pause:1" {
		t.Errorf("GitSync brings back what was not promoted: %+v, image %s", done, read().Spec.Template.Spec.Containers[0].Image)
	}
	applied("what git says", bad)
	if app := read().Spec.Template.Spec.Containers[0]; app.Image != "siskin.dev/pause:2" || len(app.Env) != 1 {
		t.Errorf("after the next apply: image %s, %v", app.Image, app.Env)
	}
	applied("a fix", asGit("3", ""))
	if app := read().Spec.Template.Spec.Containers[0]; app.Image != "siskin.dev/pause:3" || len(app.Env) != 0 {
		t.Errorf("after a fix: image %s, %v", app.Image, app.Env)
	}
}
