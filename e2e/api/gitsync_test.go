package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// syncStory is one GitSync with a repository and a namespace of its own.
type syncStory struct {
	testing.TB
	*fixtures.Env
	ns, name string
	repo     *fixtures.Repo
}

// syncing makes the repository with a first commit, and a GitSync of it; spec are further lines of its spec.
func syncing(t *testing.T, prefix, spec string, files map[string]string) *syncStory {
	t.Helper()
	e := given(t)
	s := &syncStory{TB: t, Env: e, ns: e.Namespace(t), name: "shop"}
	repo, user, password := prefix+s.ns, "", ""
	if prefix != "" {
		user, password = "ann", "secret"
	}
	s.repo = e.Repo(t, repo, user, password)
	s.repo.Commit("first", files)
	e.Given(t, s.ns, fmt.Sprintf(`apiVersion: siskin.dev/v1
kind: GitSync
metadata: {name: shop}
spec:
  url: %s
  interval: 1s
  %s
`, e.GitURLInCluster(repo), spec))
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			out, err := e.Kubectl(ctx, "-n", s.ns, "describe", "gitsyncs")
			t.Logf("%s %v", out, err)
		}
	})
	return s
}

// ready waits until the condition Ready is status for a reason at a commit ("": any), and returns its message.
func (s *syncStory) ready(status metav1.ConditionStatus, reason, commit string) string {
	s.Helper()
	var message string
	cluster.Eventually(s, 45*time.Second, func(ctx context.Context) error {
		var gs siskinv1.GitSync
		if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.ns, Name: s.name}, &gs); err != nil {
			return err
		}
		c := meta.FindStatusCondition(gs.Status.Conditions, siskinv1.ConditionReady)
		if c == nil || c.Status != status || c.Reason != reason || !strings.Contains(gs.Status.LastAttemptedRevision, commit) {
			return fmt.Errorf("not Ready=%s for %s at %q: %+v, at %q", status, reason, commit, c, gs.Status.LastAttemptedRevision)
		}
		message = c.Message
		return nil
	})
	return message
}

// told checks that there is one event of a reason about the GitSync.
func (s *syncStory) told(reason string) {
	s.Helper()
	var all []fixtures.Event
	cluster.Eventually(s, 10*time.Second, func(ctx context.Context) error {
		var err error
		if all, err = s.EventsAbout(ctx, s.ns, s.name, reason); err == nil && len(all) == 0 {
			err = fmt.Errorf("no event %s", reason)
		}
		return err
	})
	if len(all) != 1 || all[0].Count != 1 {
		s.Errorf("event %s was told %+v", reason, all)
	}
}

// again waits until the GitSync has looked at the repository at least twice more, so that what it repeats would show.
func (s *syncStory) again() {
	s.Helper()
	for _, token := range []string{"a", "b"} {
		token += time.Now().Format("150405.000000")
		out, err := s.Kubectl(s.Context(), "-n", s.ns, "annotate", "--overwrite", "gitsync", s.name, siskinv1.GitSyncReconcileAnnotation+"="+token)
		if err != nil {
			s.Fatalf("%v: %s", err, out)
		}
		cluster.Eventually(s, 20*time.Second, func(ctx context.Context) error {
			var gs siskinv1.GitSync
			if err := s.API.Get(ctx, client.ObjectKey{Namespace: s.ns, Name: s.name}, &gs); err != nil {
				return err
			}
			if gs.Status.LastHandledReconcile != token {
				return fmt.Errorf("handled %q, not %q", gs.Status.LastHandledReconcile, token)
			}
			return nil
		})
	}
}

func (s *syncStory) get(obj client.Object, name string) error {
	return s.API.Get(s.Context(), client.ObjectKey{Namespace: s.ns, Name: name}, obj)
}

// absent checks that an object does not exist.
func (s *syncStory) absent(obj client.Object, name string) {
	s.Helper()
	if err := s.get(obj, name); !apierrors.IsNotFound(err) {
		s.Errorf("%T %s is there (%v)", obj, name, err)
	}
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {key: %q}\n", name, value)
}

// TestSyncLeavesHeldReplicas : a target that a Canary holds stays at zero however often it is applied; a new number in git is
// recorded for the primary, and a new version gets through.
func TestSyncLeavesHeldReplicas(t *testing.T) {
	s := syncing(t, "", "", map[string]string{"app.yaml": deployment("2", "")})
	s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, "")
	apply(t, s.Env, s.ns, siskinv1.FieldManager, `apiVersion: apps/v1
kind: Deployment
metadata: {name: finch, annotations: {siskin.dev/held: finch, siskin.dev/replicas: "2"}}
spec: {replicas: 0}
`)
	s.again()
	hash := s.repo.Commit("more of the new", map[string]string{"app.yaml": strings.Replace(deployment("4", ""), "pause:1", "pause:2", 1)})
	s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, hash)
	var d appsv1.Deployment
	if err := s.get(&d, "finch"); err != nil {
		t.Fatal(err)
	}
	if *d.Spec.Replicas != 0 || d.Annotations[siskinv1.ReplicasAnnotation] != "4" || d.Spec.Template.Spec.Containers[0].Image != "siskin.dev/pause:2" {
		t.Errorf("%d replicas, recorded %q, image %s", *d.Spec.Replicas, d.Annotations[siskinv1.ReplicasAnnotation], d.Spec.Template.Spec.Containers[0].Image)
	}
	if got := d.Annotations[siskinv1.GitRevisionAnnotation]; got != "main@sha1:"+hash || d.Annotations[siskinv1.GitAuthorAnnotation] != "Ann" ||
		d.Annotations[siskinv1.GitMessageAnnotation] != "more of the new" {
		t.Errorf("the target does not tell where it came from: %v", d.Annotations)
	}
}

// TestSyncPrunes : what leaves the repository leaves the cluster, unless it is marked.
func TestSyncPrunes(t *testing.T) {
	s := syncing(t, "", "", map[string]string{
		"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1"),
		"c.yaml": strings.Replace(configMap("c", "1"), "name: c", "name: c, annotations: {siskin.dev/prune: disabled}", 1),
	})
	s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, "")
	hash := s.repo.Commit("less", map[string]string{"b.yaml": "", "c.yaml": ""})
	s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, hash)
	s.absent(&corev1.ConfigMap{}, "b")
	for _, name := range []string{"a", "c"} {
		if err := s.get(&corev1.ConfigMap{}, name); err != nil {
			t.Error(err)
		}
	}
}

// TestSyncAppliesKindsWithTheirObjects : a CRD, a namespace and objects in them may come in one commit.
func TestSyncAppliesKindsWithTheirObjects(t *testing.T) {
	s := syncing(t, "", "", map[string]string{"a.yaml": configMap("a", "1")})
	group := s.ns + ".example.org"
	hash := s.repo.Commit("a kind and one of it", map[string]string{"a-first.yaml": fmt.Sprintf(`apiVersion: %[1]s/v1
kind: Bird
metadata: {name: finch}
spec: {song: chirp}
`, group), "z-last.yaml": fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: birds.%[1]s}
spec:
  group: %[1]s
  names: {kind: Bird, listKind: BirdList, plural: birds, singular: bird}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {song: {type: string}}}}}}
`, group)})
	s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, hash)
	bird := &unstructured.Unstructured{}
	bird.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1", Kind: "Bird"})
	if err := s.get(bird, "finch"); err != nil {
		t.Error(err)
	}
}

// TestSyncRefusedObject : one object that the API server refuses keeps the whole commit out.
func TestSyncRefusedObject(t *testing.T) {
	s := syncing(t, "", "", map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, "")
	hash := s.repo.Commit("half bad", map[string]string{
		"a.yaml": configMap("a", "2"), "b.yaml": "", "n.yaml": configMap("new", "1"),
		"z.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999}]}\n",
	})
	message := s.ready(metav1.ConditionFalse, siskinv1.GitSyncApplyFailed, hash)
	if !strings.Contains(message, "Service") || !strings.Contains(message, "bad") || !strings.Contains(message, "99999") {
		t.Errorf("the message does not name the object and what is wrong: %s", message)
	}
	s.again()
	s.told(siskinv1.GitSyncApplyFailed)
	var a corev1.ConfigMap
	if err := s.get(&a, "a"); err != nil || a.Data["key"] != "1" {
		t.Errorf("a half of the commit was applied: %v %v", a.Data, err)
	}
	s.absent(&corev1.ConfigMap{}, "new")
	if err := s.get(&corev1.ConfigMap{}, "b"); err != nil {
		t.Errorf("something was pruned all the same: %v", err)
	}
	hash = s.repo.Commit("mended", map[string]string{"z.yaml": ""})
	s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, hash)
}

// TestSyncTouchesOnlyWhatChanged : objects that a commit leaves alone are not written, not even with the new revision.
func TestSyncTouchesOnlyWhatChanged(t *testing.T) {
	s := syncing(t, "", "", map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, "")
	var before, after, changed corev1.ConfigMap
	if err := s.get(&before, "a"); err != nil {
		t.Fatal(err)
	}
	hash := s.repo.Commit("only b", map[string]string{"b.yaml": configMap("b", "2")})
	s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, hash)
	s.again()
	if err := s.get(&after, "a"); err != nil {
		t.Fatal(err)
	}
	if before.ResourceVersion != after.ResourceVersion {
		t.Errorf("an object that did not change was written: %v → %v", before.Annotations, after.Annotations)
	}
	if err := s.get(&changed, "b"); err != nil || changed.Data["key"] != "2" || !strings.Contains(changed.Annotations[siskinv1.GitRevisionAnnotation], hash) {
		t.Errorf("the object that changed is %v %v (%v)", changed.Data, changed.Annotations, err)
	}
}

// TestSyncBadCommits : a commit that cannot be used is named in one condition and one event, and nothing is half-done.
func TestSyncBadCommits(t *testing.T) {
	for name, c := range map[string]struct {
		reason, spec  string
		first, second map[string]string
		mend          map[string]string
	}{
		"the path is missing": {
			reason: siskinv1.GitSyncPathNotFound, spec: "path: ./apps",
			first:  map[string]string{"apps/a.yaml": configMap("a", "1")},
			second: map[string]string{"apps/a.yaml": "", "other.yaml": configMap("b", "1")},
			mend:   map[string]string{"apps/a.yaml": configMap("a", "1")},
		},
		"kustomize cannot build it": {
			reason: siskinv1.GitSyncBuildFailed,
			first:  map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": configMap("a", "1")},
			second: map[string]string{"kustomization.yaml": "resources: [a.yaml, missing.yaml]\n", "a.yaml": configMap("a", "2")},
			mend:   map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": configMap("a", "1")},
		},
		"it is no YAML": {
			reason: siskinv1.GitSyncBuildFailed,
			first:  map[string]string{"a.yaml": configMap("a", "1")},
			second: map[string]string{"a.yaml": "kind: [", "b.yaml": configMap("b", "1")},
			mend:   map[string]string{"a.yaml": configMap("a", "1")},
		},
		"a name is not UTF-8": {
			reason: siskinv1.GitSyncBuildFailed,
			first:  map[string]string{"über-uns.yaml": configMap("a", "1")},
			second: map[string]string{"über-uns.yaml": "", "\xfcber-uns.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")},
			mend:   map[string]string{"\xfcber-uns.yaml": "", "über-uns.yaml": configMap("a", "1")},
		},
		"a link leads nowhere": {
			reason: siskinv1.GitSyncBuildFailed,
			first:  map[string]string{"real/data": configMap("a", "1"), "a.yaml": "-> real/data"},
			second: map[string]string{"real/data": "", "b.yaml": configMap("b", "1")},
			mend:   map[string]string{"real/data": configMap("a", "1")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := syncing(t, "", c.spec, c.first)
			s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, "")
			hash := s.repo.Commit("bad", c.second)
			message := s.ready(metav1.ConditionFalse, c.reason, hash)
			if !strings.Contains(message, "nothing was applied or pruned") {
				t.Errorf("the message does not comfort: %s", message)
			}
			s.again()
			s.told(c.reason)
			var a corev1.ConfigMap
			if err := s.get(&a, "a"); err != nil || a.Data["key"] != "1" {
				t.Errorf("a became %v (%v)", a.Data, err)
			}
			s.absent(&corev1.ConfigMap{}, "b")
			hash = s.repo.Commit("mended", c.mend)
			s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, hash)
		})
	}
}

// TestSyncAccessDenied : without credentials nothing is fetched, and the Secret, once it is there, is enough.
func TestSyncAccessDenied(t *testing.T) {
	s := syncing(t, "private/", "", map[string]string{"a.yaml": configMap("a", "1")})
	s.ready(metav1.ConditionFalse, siskinv1.GitSyncAuthenticationFailed, "")
	s.told(siskinv1.GitSyncAuthenticationFailed)
	s.absent(&corev1.ConfigMap{}, "a")
	if out, err := s.Kubectl(t.Context(), "-n", s.ns, "patch", "gitsync", s.name, "--type=merge", "-p", `{"spec":{"secretRef":{"name":"git"}}}`); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.ready(metav1.ConditionFalse, siskinv1.GitSyncSecretInvalid, "")
	s.told(siskinv1.GitSyncSecretInvalid)
	s.Given(t, s.ns, "apiVersion: v1\nkind: Secret\nmetadata: {name: git}\nstringData: {username: ann, password: secret}\n")
	s.ready(metav1.ConditionTrue, siskinv1.GitSyncSynced, "")
	if err := s.get(&corev1.ConfigMap{}, "a"); err != nil {
		t.Error(err)
	}
}
