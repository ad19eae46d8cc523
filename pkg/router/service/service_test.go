package service_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/kubernetes"
	"github.com/siskin-dev/siskin/pkg/router/routertest"
	"github.com/siskin-dev/siskin/pkg/router/service"
)

const namespace = "aviary"

// world is a namespace with a Canary, seen through a client that counts writes.
type world struct {
	*testing.T
	c       *routertest.Counter
	applier *service.Applier
	in      service.In
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	canary := routertest.Canary(namespace)
	canary.ResourceVersion = ""
	c := &routertest.Counter{Client: routertest.NewClient(t)}
	for _, obj := range append(objects, canary) {
		if err := c.Create(t.Context(), obj, client.FieldOwner("git")); err != nil {
			t.Fatalf("creating %s: %v", obj.GetName(), err)
		}
	}
	c.Writes()
	return &world{T: t, c: c, applier: service.New(c, c), in: service.In{
		Canary: canary, Apex: "finch", PrimaryName: "finch-primary", CanaryName: "finch-canary",
		Selector:  map[string]string{"app": "finch"},
		PodLabels: map[string]string{"app": "finch", "tier": "web"},
		Serving:   siskinv1.RolePrimary,
	}}
}

func (w *world) apply() service.Result {
	w.Helper()
	res, err := w.applier.Apply(w.Context(), w.in)
	if err != nil {
		w.Fatalf("Apply: %v", err)
	}
	return res
}

func (w *world) release() {
	w.Helper()
	if err := w.applier.Release(w.Context(), w.in); err != nil {
		w.Fatalf("Release: %v", err)
	}
}

func (w *world) get(name string) *corev1.Service {
	w.Helper()
	var svc corev1.Service
	if err := w.c.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &svc); err != nil {
		w.Fatalf("reading Service %s: %v", name, err)
	}
	return &svc
}

func (w *world) edit(name string, edit func(*corev1.Service)) {
	w.Helper()
	svc := w.get(name)
	edit(svc)
	if err := w.c.Client.Update(w.Context(), svc, client.FieldOwner("git")); err != nil {
		w.Fatalf("editing Service %s: %v", name, err)
	}
}

func (w *world) selector(name string, want map[string]string) {
	w.Helper()
	if diff := cmp.Diff(want, w.get(name).Spec.Selector); diff != "" {
		w.Errorf("selector of %s: %s", name, diff)
	}
}

func user(name string, selector map[string]string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{"example.org/owner": "aviary"}},
		Spec: corev1.ServiceSpec{
			Selector: selector, SessionAffinity: corev1.ServiceAffinityClientIP, Type: corev1.ServiceTypeNodePort,
			Ports: []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP, NodePort: 30080}},
		},
	}
}

func podSpec() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "example.org/app"}}}
}

func role(selector map[string]string, role string) map[string]string {
	out := maps.Clone(selector)
	out[siskinv1.RoleLabel] = role
	return out
}

func TestGenerated(t *testing.T) {
	w := newWorld(t)
	w.in.Canary.Spec.Service.Primary = &siskinv1.Metadata{Labels: map[string]string{"a": "1"}, Annotations: map[string]string{"b": "2"}}
	w.in.Serving = ""
	res := w.apply()
	if diff := cmp.Diff([]string{"finch-primary", "finch-canary", "finch"}, res.Changed); diff != "" {
		t.Error(diff)
	}
	app := map[string]string{"app": "finch"}
	w.selector("finch", app) // Before the primary serves, the target's own pods do.
	w.selector("finch-primary", role(app, "primary"))
	w.selector("finch-canary", role(app, "canary"))
	primary := w.get("finch-primary")
	if primary.Labels["a"] != "1" || primary.Annotations["b"] != "2" || primary.Labels[siskinv1.CanaryLabel] != "finch" ||
		!metav1.IsControlledBy(primary, w.in.Canary) || primary.Spec.Type != corev1.ServiceTypeClusterIP || res.Port != 80 {
		t.Errorf("primary: %+v", primary.ObjectMeta)
	}
	w.in.Serving = siskinv1.RolePrimary
	w.apply()
	w.selector("finch", role(app, "primary"))
	w.in.Serving = ""
	w.apply()
	w.selector("finch", role(app, "primary")) // "" leaves it alone.
	w.c.Writes()
	if res := w.apply(); len(res.Changed) != 0 || w.c.Writes() != 0 {
		t.Errorf("a second Apply wrote %v", res.Changed)
	}
}

func TestGeneratedFollowsTheSpec(t *testing.T) {
	w := newWorld(t)
	w.in.Canary.Spec.Service.Primary = &siskinv1.Metadata{Labels: map[string]string{"a": "1"}}
	w.apply()
	w.edit("finch-primary", func(s *corev1.Service) { s.Labels["theirs"] = "kept" })
	w.edit("finch-canary", func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "finch"} })
	w.in.Canary.Spec.Service.Primary = nil
	w.in.Canary.Spec.Service.Port = 8080
	w.apply()
	primary := w.get("finch-primary")
	if _, ok := primary.Labels["a"]; ok || primary.Labels["theirs"] != "kept" || show(primary.Spec.Ports) != "http:8080->8080/TCP" {
		t.Errorf("primary: %v %s", primary.Labels, show(primary.Spec.Ports))
	}
	w.selector("finch-canary", map[string]string{"app": "finch", siskinv1.RoleLabel: "canary"})
	w.c.Writes()
	if w.apply(); w.c.Writes() != 0 {
		t.Error("it does not settle")
	}
}

func TestAdoptAndRestore(t *testing.T) {
	own := map[string]string{"tier": "web", "app": "finch"}
	w := newWorld(t, user("finch", own))
	before := w.get("finch")
	w.in.Serving = ""
	if res := w.apply(); len(res.Adopted) != 0 {
		t.Fatalf("adopted before the primary serves: %v", res.Adopted)
	}
	if after := w.get("finch"); after.ResourceVersion != before.ResourceVersion {
		t.Fatal("the apex was touched before the primary serves")
	}
	w.in.Serving = siskinv1.RolePrimary
	if diff := cmp.Diff([]string{"finch"}, w.apply().Adopted); diff != "" {
		t.Error(diff)
	}
	apex, primary := w.get("finch"), w.get("finch-primary")
	w.selector("finch", role(own, "primary"))
	w.selector("finch-primary", role(own, "primary"))
	if diff := cmp.Diff(map[string]string{
		"example.org/owner": "aviary", siskinv1.ServingAnnotation: "primary",
		siskinv1.SelectorAnnotation: `{"app":"finch","tier":"web"}`, service.HolderAnnotation: "finch",
	}, apex.Annotations); diff != "" {
		t.Error(diff)
	}
	if len(apex.OwnerReferences)+len(apex.Labels) != 0 || apex.Spec.Ports[0].NodePort != 30080 {
		t.Errorf("more than needed was changed: %+v", apex)
	}
	if show(primary.Spec.Ports) != "web:80->80/TCP" || primary.Spec.SessionAffinity != corev1.ServiceAffinityClientIP ||
		primary.Spec.Type != corev1.ServiceTypeClusterIP {
		t.Errorf("primary: %+v", primary.Spec)
	}
	w.c.Writes()
	if w.apply(); w.c.Writes() != 0 {
		t.Error("a second Apply writes")
	}
	w.release()
	after := w.get("finch")
	if !equality.Semantic.DeepEqual(before.Spec, after.Spec) || !equality.Semantic.DeepEqual(before.Annotations, after.Annotations) {
		t.Errorf("not restored: %+v", after)
	}
	w.c.Writes()
	if w.release(); w.c.Writes() != 0 {
		t.Error("a second Release writes")
	}
}

func TestSelectorReapplied(t *testing.T) {
	tests := map[string]struct {
		edit func(*corev1.Service)
		want map[string]string
	}{
		"without the role, same selector": {
			func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "finch"} }, map[string]string{"app": "finch"},
		},
		"without the role, other selector": {
			func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "finch", "tier": "web"} },
			map[string]string{"app": "finch", "tier": "web"},
		},
		"other selector, role added by the admission policy": {
			func(s *corev1.Service) {
				s.Spec.Selector = map[string]string{"tier": "web", siskinv1.RoleLabel: "primary"}
			}, map[string]string{"tier": "web"},
		},
		"wrong role": {
			func(s *corev1.Service) { s.Spec.Selector[siskinv1.RoleLabel] = "canary" }, map[string]string{"app": "finch"},
		},
		"replaced as a whole": {
			func(s *corev1.Service) { s.Annotations, s.Spec.Selector = nil, map[string]string{"app": "finch"} }, map[string]string{"app": "finch"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, user("finch", map[string]string{"app": "finch"}))
			w.apply()
			w.edit("finch", tt.edit)
			w.apply()
			w.selector("finch", role(tt.want, "primary"))
			w.selector("finch-primary", role(tt.want, "primary"))
			w.release()
			w.selector("finch", tt.want)
		})
	}
}

func TestReleaseAfterReapply(t *testing.T) {
	w := newWorld(t, user("finch", map[string]string{"app": "finch"}))
	w.apply()
	w.edit("finch", func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "finch", "tier": "web"} })
	w.release()
	w.selector("finch", map[string]string{"app": "finch", "tier": "web"})
	if len(w.get("finch").Annotations) != 1 {
		t.Errorf("annotations: %v", w.get("finch").Annotations)
	}
}

func TestReleaseGenerated(t *testing.T) {
	w := newWorld(t)
	w.apply()
	w.release()
	w.selector("finch", map[string]string{"app": "finch"}) // It stays until the Canary is gone.
	for _, name := range []string{"finch-primary", "finch-canary"} {
		err := w.c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &corev1.Service{})
		if !apierrors.IsNotFound(err) {
			t.Errorf("Service %s is left: %v", name, err)
		}
	}
	w.release()
}

func TestApexRefused(t *testing.T) {
	controlled := func(pod *metav1.PartialObjectMetadata, kind string) client.Object {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: pod.Name, Labels: pod.Labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: "x", UID: "x", Controller: new(true)}},
		}, Spec: podSpec()}
	}
	other := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "robin-1", Labels: map[string]string{"app": "robin", "tier": "web"}}}
	atZero := func(name, kind string, labels map[string]string, edits ...func(metav1.Object)) client.Object {
		meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
		pods := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}
		for _, edit := range edits {
			edit(&meta)
		}
		switch kind {
		case "StatefulSet":
			return &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Replicas: new(int32(0)), Template: pods}}
		case "DaemonSet":
			return &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Template: pods}}
		}
		return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: new(int32(0)), Template: pods}}
	}
	front, back := map[string]string{"app": "robin", "tier": "web"}, map[string]string{"app": "robin", "tier": "back"}
	clone := func(o metav1.Object) {
		o.SetLabels(map[string]string{siskinv1.CanaryLabel: "finch", siskinv1.RoleLabel: "primary"})
	}
	optOut := user("finch", map[string]string{"app": "finch"})
	optOut.Annotations[siskinv1.AdoptAnnotation] = "disabled"
	external := user("finch", nil)
	external.Spec.Type, external.Spec.ExternalName = corev1.ServiceTypeExternalName, "finch.example.org"
	held := user("finch", map[string]string{"app": "finch", siskinv1.RoleLabel: "primary"})
	held.Annotations = map[string]string{siskinv1.ServingAnnotation: "primary", siskinv1.SelectorAnnotation: `{"app":"finch"}`, service.HolderAnnotation: "robin"}
	robin := routertest.Canary(namespace)
	robin.Name, robin.UID, robin.Spec.Service.Name = "robin", "r", "finch"
	tests := map[string]struct {
		objects []client.Object
		ok      bool
	}{
		"opted out":                     {objects: []client.Object{optOut}},
		"ExternalName":                  {objects: []client.Object{external}},
		"no selector":                   {objects: []client.Object{user("finch", nil)}},
		"apex of another Canary":        {objects: []client.Object{held, robin}},
		"held by a Canary that is gone": {objects: []client.Object{held.DeepCopy()}, ok: true},
		"selects other pods too":        {objects: []client.Object{user("finch", map[string]string{"tier": "web"}), controlled(other, "ReplicaSet")}},
		"a Job's pod does not count":    {objects: []client.Object{user("finch", map[string]string{"tier": "web"}), controlled(other, "Job")}, ok: true},
		"another Deployment at zero":    {objects: []client.Object{user("finch", map[string]string{"tier": "web"}), atZero("robin", "Deployment", front)}},
		"another StatefulSet at zero":   {objects: []client.Object{user("finch", map[string]string{"tier": "web"}), atZero("finch", "StatefulSet", front)}},
		"another DaemonSet at zero":     {objects: []client.Object{user("finch", map[string]string{"tier": "web"}), atZero("robin", "DaemonSet", front)}},
		"a Deployment of another Service": {
			objects: []client.Object{user("finch", map[string]string{"tier": "web"}), atZero("robin", "Deployment", back)}, ok: true,
		},
		"the target and its clone": {objects: []client.Object{
			user("finch", map[string]string{"tier": "web"}), atZero("finch", "Deployment", front), atZero("finch-primary", "Deployment", front, clone),
		}, ok: true},
		"primary's name is somebody's":   {objects: []client.Object{user("finch-primary", map[string]string{"a": "b"})}},
		"selector wider, but only finch": {objects: []client.Object{user("finch", map[string]string{"tier": "web"})}, ok: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.objects...)
			_, err := w.applier.Apply(t.Context(), w.in)
			if tt.ok {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantField(t, err, "spec.service.name")
			if w.c.Writes() != 0 {
				t.Error("it was refused, and something was written")
			}
		})
	}
}

// An edit that forbids the adoption in the middle of a rollout is told, and does not stop what has to go on.
func TestOptOutOfAdoptedApexIsOnlyTold(t *testing.T) {
	w := newWorld(t, user("finch", map[string]string{"app": "finch"}))
	w.apply()
	w.edit("finch", func(s *corev1.Service) {
		s.Annotations[siskinv1.AdoptAnnotation] = "disabled"
		s.Spec.Selector = map[string]string{"app": "finch"}
	})
	_, err := w.applier.Apply(t.Context(), w.in)
	wantField(t, err, "spec.service.name")
	w.selector("finch", map[string]string{"app": "finch", siskinv1.RoleLabel: "primary"})
}

func TestOthers(t *testing.T) {
	opted := user("opted", map[string]string{"app": "finch"})
	opted.Annotations[siskinv1.AdoptAnnotation] = "disabled"
	robin := routertest.Canary(namespace)
	robin.Name, robin.UID, robin.Spec.TargetRef.Name = "robin", "r", "robin"
	w := newWorld(t, robin,
		user("metrics", map[string]string{"tier": "web", "app": "finch"}), user("partly", map[string]string{"tier": "web"}), opted,
		user("robin", map[string]string{"app": "finch"}), // The other Canary's apex.
		user("debug", map[string]string{"app": "finch", siskinv1.RoleLabel: "canary"}),
		user("else", map[string]string{"app": "owl"}), user("none", nil))
	w.in.Serving = ""
	if res := w.apply(); len(res.Adopted) != 0 {
		t.Errorf("adopted before the primary serves: %v", res.Adopted)
	}
	w.in.Serving = siskinv1.RoleCanary
	if diff := cmp.Diff([]string{"metrics", "partly"}, w.apply().Adopted); diff != "" {
		t.Error(diff)
	}
	w.selector("metrics", map[string]string{"tier": "web", "app": "finch", siskinv1.RoleLabel: "primary"})
	w.selector("finch", map[string]string{"app": "finch", siskinv1.RoleLabel: "canary"})
	w.c.Writes()
	if res := w.apply(); len(res.Adopted) != 0 || w.c.Writes() != 0 {
		t.Errorf("adopted again: %v", res.Adopted)
	}
	// A pod of another workload appears behind one, and the author of the other opts out: both are given back.
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "owl-1", Labels: map[string]string{"tier": "web"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "owl", UID: "owl", Controller: new(true)}},
	}, Spec: podSpec()}
	if err := w.c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	w.edit("metrics", func(s *corev1.Service) { s.Annotations[siskinv1.AdoptAnnotation] = "disabled" })
	res := w.apply()
	if diff := cmp.Diff([][]string{{"metrics", "partly"}, {"partly"}}, [][]string{res.Restored, res.Shared}); diff != "" {
		t.Error(diff)
	}
	w.selector("metrics", map[string]string{"tier": "web", "app": "finch"})
	w.selector("partly", map[string]string{"tier": "web"})
}

// A workload that comes later, or is scaled up in the morning, is behind a Service that was adopted while it was away.
func TestAnotherWorkloadBehindAdoptedServices(t *testing.T) {
	for name, selector := range map[string]map[string]string{"finch": {"tier": "web"}, "all": {"tier": "web"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, user(name, selector))
			w.apply()
			w.selector(name, role(selector, "primary"))
			robin := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "robin"}}
			robin.Spec.Template.Labels = map[string]string{"app": "robin", "tier": "web"}
			if holder := service.HolderOf(w.get(name), service.PodLabels(robin)); holder != "finch" {
				t.Errorf("%q is told of it", holder)
			}
			robin.Spec.Replicas = new(int32(0))
			if err := w.c.Create(t.Context(), robin); err != nil {
				t.Fatal(err)
			}
			res, err := w.applier.Apply(t.Context(), w.in)
			if name == "all" {
				if err != nil || !slices.Equal(res.Restored, []string{"all"}) || !slices.Equal(res.Shared, []string{"all"}) {
					t.Errorf("restored %v, shared %v: %v", res.Restored, res.Shared, err)
				}
				w.selector(name, selector)
				return
			}
			wantField(t, err, "spec.service.name") // it is told, and does not stop what has to go on
			if !strings.Contains(err.Error(), "Deployment robin") {
				t.Error(err)
			}
			w.selector(name, role(selector, "primary"))
		})
	}
}

func TestOthersRestored(t *testing.T) {
	w := newWorld(t, user("metrics", map[string]string{"tier": "web"}))
	before := w.get("metrics")
	w.apply()
	w.in.PodLabels, w.in.Selector = nil, nil // The target is gone by the time of the release.
	w.release()
	if after := w.get("metrics"); !equality.Semantic.DeepEqual(before.Spec, after.Spec) || !maps.Equal(before.Annotations, after.Annotations) {
		t.Errorf("not restored: %+v", after)
	}
}

// Engine and router both set the role of the apex. They never undo each other's work.
func TestRouterAndEngineAgree(t *testing.T) {
	for name, objects := range map[string][]client.Object{
		"adopted": {user("finch", map[string]string{"app": "finch"})}, "generated": nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, objects...)
			r := kubernetes.New(w.c, w.c)
			in := routertest.Intent(w.in.Canary)
			for _, split := range []router.Split{{Primary: 100}, {Canary: 100}, {Primary: 100}} {
				in.Split, w.in.Serving = split, service.ServingRole(r.Capabilities(t.Context(), in.Owner), split)
				w.apply()
				w.c.Writes()
				if _, err := r.Apply(t.Context(), in); err != nil || w.c.Writes() != 0 {
					t.Errorf("router after engine at %v: %v", split, err)
				}
			}
			for _, split := range []router.Split{{Canary: 100}, {Primary: 100}} {
				in.Split, w.in.Serving = split, service.ServingRole(r.Capabilities(t.Context(), in.Owner), split)
				if _, err := r.Apply(t.Context(), in); err != nil {
					t.Fatal(err)
				}
				w.c.Writes()
				if w.apply(); w.c.Writes() != 0 {
					t.Errorf("engine after router at %v", split)
				}
			}
		})
	}
	if service.ServingRole(router.Capabilities{Features: router.Features{}.With(router.Yes, router.FeatureWeights)}, router.Split{Canary: 100}) != siskinv1.RolePrimary {
		t.Error("a weighted router never moves the apex")
	}
}

// A Service that changed since it was read is not overwritten with what was derived from the old one.
func TestStaleReadIsAConflict(t *testing.T) {
	w := newWorld(t, user("finch", map[string]string{"app": "finch"}))
	stale := &staleClient{Counter: w.c, old: w.get("finch")}
	w.edit("finch", func(s *corev1.Service) { s.Spec.Selector = map[string]string{"tier": "web"} })
	_, err := service.New(stale, stale).Serve(t.Context(), routertest.Intent(w.in.Canary), siskinv1.RolePrimary)
	if !apierrors.IsConflict(err) {
		t.Fatalf("want a conflict, have %v", err)
	}
	w.selector("finch", map[string]string{"tier": "web"})
}

func TestLeftoverIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.apply()
	w.in.Canary.UID = "a-new-one"
	if _, err := w.applier.Apply(t.Context(), w.in); !errors.Is(err, router.ErrNotFound) {
		t.Fatalf("want ErrNotFound, have %v", err)
	}
}

func TestOrphanedIsTakenBack(t *testing.T) {
	w := newWorld(t)
	w.apply()
	for _, name := range []string{"finch", "finch-primary", "finch-canary"} {
		w.edit(name, func(s *corev1.Service) { s.OwnerReferences = nil })
	}
	w.in.Canary.UID = "a-new-one"
	w.apply()
	if !metav1.IsControlledBy(w.get("finch"), w.in.Canary) {
		t.Error("not owned by the new Canary")
	}
}
