package observe

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

func snapshotAt(version, image string) *appsv1.ControllerRevision {
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-1", UID: "uid", ResourceVersion: version,
			Annotations: map[string]string{siskinv1.ViewAnnotation: `{"ports":[{"port":80}],"port":80}`},
		},
		Data: runtime.RawExtension{Raw: []byte(`{"template":{"spec":{"containers":[{"name":"web","image":"` + image + `"}]}}}`)},
	}
}

// What was decoded is told by what the data says when the version is still the same: nobody looks at it then.
func TestASnapshotIsDecodedOncePerVersion(t *testing.T) {
	var books books
	read := func(version, image string) string {
		t.Helper()
		s := snapshotAt(version, image)
		w := &World{book: books.open("canary", nil), Snapshots: map[string]*appsv1.ControllerRevision{s.Name: s}}
		r, err := w.Read(s)
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := w.recorded(s.Name); !ok || v.Port != 80 {
			t.Errorf("the view is %+v, %v", v, ok)
		}
		return r.Image()
	}
	for _, step := range []struct{ version, image, want string }{
		{"1", "web:1", "web:1"}, {"1", "web:2", "web:1"}, {"1", "web:3", "web:1"}, {"2", "web:3", "web:3"}, {"2", "web:4", "web:3"},
	} {
		if got := read(step.version, step.image); got != step.want {
			t.Errorf("version %s with %s is read as %s, not %s", step.version, step.image, got, step.want)
		}
	}
	books.open("canary", nil) // a pass that does not ask for it
	if got := read("2", "web:5"); got != "web:5" {
		t.Errorf("what no pass asks for any more is kept: %s", got)
	}
	books.forget("canary")
	if len(books.all) != 0 {
		t.Error("a Canary that is gone is remembered")
	}
	for _, image := range []string{"web:6", "web:7"} { // of no version
		w := &World{book: books.open("canary", nil)}
		if r, err := w.Read(snapshotAt("", image)); err != nil || r.Image() != image {
			t.Errorf("%s, %v", r.Image(), err)
		}
	}
}

func TestAChangeOfWhatPassesShareIsNoticed(t *testing.T) {
	var books books
	var told []string
	guard := func(what string) { told = append(told, what) }
	book, s := books.open("canary", guard), snapshotAt("1", "web:1")
	target := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{UID: "target", ResourceVersion: "1"}}
	target.Spec.Template.Spec.Containers = []corev1.Container{{Image: "web:1"}}
	r := book.page(s).revision
	live := book.present(target)
	if book = books.open("canary", guard); len(told) > 0 {
		t.Fatalf("nobody changed %v", told)
	}
	live.Template.Spec.Containers[0].Image = "other"
	book.page(s)
	r.Template.Spec.Containers[0].Image = "other"
	if books.open("canary", guard); len(told) != 2 {
		t.Errorf("told %v, want one of the target and one of the snapshot", told)
	}
}
