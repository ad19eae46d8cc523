package target_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/canary/target"
)

func TestWhatMakesARevision(t *testing.T) {
	for name, tc := range map[string]struct {
		reason string
		edit   func(*appsv1.Deployment)
		same   bool
	}{
		"nothing":  {"the same content is the same revision", func(*appsv1.Deployment) {}, true},
		"replicas": {"scaling is no release", func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(9)) }, true},
		"strategy": {"how pods are replaced is no content", func(d *appsv1.Deployment) {
			d.Spec.Strategy.Type, d.Spec.MinReadySeconds = appsv1.RecreateDeploymentStrategyType, 5
		}, true},
		"labels of the Deployment": {"only those of the pods count", func(d *appsv1.Deployment) { d.Labels["team"] = "a" }, true},
		"annotations of the Deployment": {"a new commit with the same content is no release", func(d *appsv1.Deployment) {
			d.Annotations = map[string]string{siskinv1.GitRevisionAnnotation: "main@sha1:1"}
		}, true},
		"status": {"what the controller observed is noise", func(d *appsv1.Deployment) { d.Status.Replicas = 3 }, true},
		"creation time of the template": {"some clients send one; the API server means nothing by it", func(d *appsv1.Deployment) {
			d.Spec.Template.CreationTimestamp = metav1.NewTime(time.Unix(1e9, 0))
		}, true},
		"order of labels": {"a map has no order", func(d *appsv1.Deployment) {
			d.Spec.Template.Labels = map[string]string{"tier": "front", "app": "web"}
		}, true},
		"empty map":   {"empty and absent mean the same", func(d *appsv1.Deployment) { d.Spec.Template.Annotations = map[string]string{} }, true},
		"image":       {"the usual release", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" }, false},
		"a pod label": {"pods differ", func(d *appsv1.Deployment) { d.Spec.Template.Labels["tier"] = "back" }, false},
		"an annotation": {"kubectl rollout restart asks for new pods", func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
		}, false},
		"order of env": {"later variables may use earlier ones", func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: "1"}}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			was := canonical(t, target.From(deployment()))
			is := canonical(t, target.From(deployment(tc.edit)))
			if same := was == is; same != tc.same {
				t.Errorf("%s: same = %t\n%s\n%s", tc.reason, same, was, is)
			}
		})
	}
}

func TestTheOrderOfFieldsAndTheSpellingOfQuantitiesDoNotCount(t *testing.T) {
	a := decode(t, `{"spec":{"template":{"metadata":{"labels":{"app":"web","tier":"x"}},"spec":{"containers":[
		{"name":"web","image":"web:1","resources":{"limits":{"cpu":"1","memory":"1Gi"}}}]}}}}`)
	b := decode(t, `{"spec":{"template":{"spec":{"containers":[
		{"resources":{"limits":{"memory":"1024Mi","cpu":"1000m"}},"image":"web:1","name":"web"}]},"metadata":{"creationTimestamp":null,"labels":{"tier":"x","app":"web"}}}}}`)
	if diff := cmp.Diff(canonical(t, target.From(a)), canonical(t, target.From(b))); diff != "" {
		t.Errorf("-a +b:\n%s", diff)
	}
}

// The canonical form and the name are golden: a library that changes one of them would make the names of stored snapshots
// differ from those of the same content, and their comparison the only thing that keeps an upgrade from starting rollouts.
func TestNameIsStable(t *testing.T) {
	d := deployment(defaulted, func(d *appsv1.Deployment) {
		c := &d.Spec.Template.Spec.Containers[0]
		c.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m"), corev1.ResourceMemory: resource.MustParse("64Mi")}
		c.Env = []corev1.EnvVar{{Name: "MODE", Value: "<fast> & loud"}}
	})
	raw := canonical(t, target.From(d))
	const want = `{"metadata":{"labels":{"app":"web","tier":"front"}},"spec":{"containers":[{"env":[{"name":"MODE","value":"\u003cfast\u003e \u0026 loud"}],` +
		`"image":"web:1","imagePullPolicy":"IfNotPresent","name":"web","ports":[{"containerPort":9898,"name":"http","protocol":"TCP"}],` +
		`"resources":{"limits":{"cpu":"1500m","memory":"64Mi"}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],` +
		`"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}`
	if diff := cmp.Diff(want, raw); diff != "" {
		t.Errorf("canonical form: -want +got\n%s", diff)
	}
	if got, want := target.Name("web", []byte(raw)), "web-bee8bb887c"; got != want {
		t.Errorf("name %s, want %s", got, want)
	}
}

func TestBigNumbersSurviveTheCanonicalForm(t *testing.T) {
	edit := func(n int64) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(n)}
		}
	}
	// 2^53 and 2^53+1 are one number to a float64.
	a := canonical(t, target.From(deployment(edit(1<<53))))
	b := canonical(t, target.From(deployment(edit(1<<53+1))))
	if a == b {
		t.Errorf("different contents have one canonical form: %s", a)
	}
}

func TestOrigin(t *testing.T) {
	r := target.From(deployment(func(d *appsv1.Deployment) {
		d.Annotations = map[string]string{
			siskinv1.GitRevisionAnnotation: "main@sha1:abc", siskinv1.GitAuthorAnnotation: "Ann", siskinv1.GitMessageAnnotation: "fix",
		}
	}))
	if diff := cmp.Diff(target.Origin{Commit: "main@sha1:abc", Author: "Ann", Message: "fix"}, r.Origin); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestLabelsOfGitOpsToolsAreNotTakenOver(t *testing.T) {
	d := deployment(func(d *appsv1.Deployment) {
		d.Labels = map[string]string{
			"app": "web", "app.kubernetes.io/part-of": "shop", "kustomize.toolkit.fluxcd.io/name": "apps", "helm.toolkit.fluxcd.io/name": "web",
			"argocd.argoproj.io/instance": "web", "app.kubernetes.io/instance": "web", "siskin.dev/gitsync": "apps", "toolkit.fluxcd.io.example.com/x": "stays",
		}
	})
	want := map[string]string{"app": "web", "app.kubernetes.io/part-of": "shop", "toolkit.fluxcd.io.example.com/x": "stays"}
	r := target.From(d)
	if diff := cmp.Diff(want, r.Workload.Labels); diff != "" {
		t.Errorf("a clone with such a label would be pruned: -want +got\n%s", diff)
	}
}

func TestFromLeavesTheObjectAlone(t *testing.T) {
	d := deployment(defaulted)
	before := d.DeepCopy()
	r := target.From(d)
	r.Template.Labels["x"], r.Workload.Selector.MatchLabels["x"], r.Workload.Labels["x"] = "y", "y", "y"
	r.Template.Spec.Containers[0].Image = "other"
	if diff := cmp.Diff(before, d); diff != "" {
		t.Errorf("objects of the cache must not be changed: -was +is\n%s", diff)
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	for name, d := range map[string]*appsv1.Deployment{
		"as git wrote it":     deployment(),
		"as it is defaulted":  deployment(defaulted),
		"with an origin":      deployment(func(d *appsv1.Deployment) { d.Annotations = map[string]string{siskinv1.GitAuthorAnnotation: "Ann"} }),
		"without any content": {},
	} {
		t.Run(name, func(t *testing.T) {
			r := target.From(d)
			cr, err := target.Snapshot(canary(), "web-1", 7, r)
			if err != nil {
				t.Fatal(err)
			}
			if cr.Revision != 7 || cr.Name != "web-1" || cr.Namespace != "shop" || cr.Labels[siskinv1.CanaryLabel] != "web" || !metav1.IsControlledBy(cr, canary()) {
				t.Errorf("metadata: %+v", cr.ObjectMeta)
			}
			back, err := target.Read(cr)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(canonical(t, r), canonical(t, back)); diff != "" {
				t.Errorf("content: -was +is\n%s", diff)
			}
			if diff := cmp.Diff(r.Origin, back.Origin); diff != "" {
				t.Errorf("origin: -was +is\n%s", diff)
			}
			if diff := cmp.Diff(cloned(canary(), "primary", "web-1", r, 2), cloned(canary(), "primary", "web-1", back, 2)); diff != "" {
				t.Errorf("clone: -was +is\n%s", diff)
			}
		})
	}
}

func TestReadTellsWhichSnapshotIsBroken(t *testing.T) {
	cr := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "web-1"}}
	cr.Data.Raw = []byte("{")
	if _, err := target.Read(cr); err == nil || !strings.Contains(err.Error(), "web-1") {
		t.Errorf("error %v does not name the snapshot", err)
	}
}

func TestImage(t *testing.T) {
	r := target.From(deployment(func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "proxy", Image: "envoy:9"})
		d.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "init:1"}}
	}))
	if got, want := r.Image(), "web:1, envoy:9"; got != want {
		t.Errorf("image %q, want %q", got, want)
	}
	if got := (target.Revision{}).Image(); got != "" {
		t.Errorf("image of nothing: %q", got)
	}
}
