package flagger

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/e2e/cluster"
	"github.com/siskin-dev/siskin/e2e/fixtures"
)

// value asks Prometheus; a query that finds nothing is an error.
func (s *tale) value(ctx context.Context, query string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.PrometheusURL()+"/api/v1/query?query="+url.QueryEscape(query), nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if len(answer.Data.Result) != 1 {
		return 0, fmt.Errorf("%s finds %d series", query, len(answer.Data.Result))
	}
	text, _ := answer.Data.Result[0].Value[1].(string)
	return strconv.ParseFloat(text, 64)
}

// scaledObject reads the story's.
func (s *tale) scaledObject() *unstructured.Unstructured {
	s.Helper()
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("keda.sh/v1alpha1")
	u.SetKind("ScaledObject")
	if err := s.API.Get(s.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, u); err != nil {
		s.Fatal(err)
	}
	return u
}

// TestKEDA : the query that KEDA would scale the primary by finds the load that the app has, before, during and after a
// rollout; an empty one would shrink a busy primary. The object is given back as it was.
func TestKEDA(t *testing.T) {
	s := story(t, fixtures.App{Replicas: 2})
	s.Apply(s.App.Deployment())
	s.Apply(fmt.Sprintf(`apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: %[1]s}
spec:
  scaleTargetRef: {name: %[1]s}
  minReplicaCount: 2
  maxReplicaCount: 4
  triggers:
  - type: prometheus
    name: load
    metadata:
      serverAddress: %[2]q
      threshold: "100"
      query: sum(rate(http_request_duration_seconds_count{namespace="%[3]s",app="%[1]s"}[15s]))
`, s.App.Name, s.PrometheusURLInCluster(), s.NS))
	before := s.scaledObject()
	s.Start(s.canary(brisk, "autoscalerRef: {apiVersion: keda.sh/v1alpha1, kind: ScaledObject, name: "+s.App.Name+"}"))
	users := s.everybody()
	loaded := func(when string) {
		t.Helper()
		cluster.Eventually(t, 40*time.Second, func(ctx context.Context) error {
			u := s.scaledObject()
			if scales, _, _ := unstructured.NestedString(u.Object, "spec", "scaleTargetRef", "name"); scales != s.App.Name+"-primary" {
				return fmt.Errorf("%s: it scales %s", when, scales)
			}
			triggers, _, _ := unstructured.NestedSlice(u.Object, "spec", "triggers")
			query, _, _ := unstructured.NestedString(triggers[0].(map[string]any), "metadata", "query")
			rate, err := s.value(ctx, query)
			if err == nil && rate < 15 { // of 35 a second; an old series may go out of the window just now
				err = fmt.Errorf("%g requests a second", rate)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", when, err)
			}
			return nil
		})
	}
	loaded("at rest")
	s.Release("1.1.0")
	s.Weight(25, time.Minute)
	loaded("in a rollout")
	s.ends(0, siskinv1.PhaseSucceeded)
	loaded("after it")
	s.remove()
	if diff := cmp.Diff(before.Object["spec"], s.scaledObject().Object["spec"]); diff != "" {
		t.Errorf("it was not given back: -was +is\n%s", diff)
	}
	users.unharmed()
}

// remove deletes the Canary and waits until it is gone.
func (s *tale) remove() {
	s.Helper()
	if out, err := s.Kubectl(s.Context(), "-n", s.NS, "delete", "canary", s.App.Name, "--timeout=120s"); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
}

// service reads the apex Service.
func (s *tale) service() *corev1.Service {
	s.Helper()
	var svc corev1.Service
	if err := s.API.Get(s.Context(), client.ObjectKey{Namespace: s.NS, Name: s.App.Name}, &svc); err != nil {
		s.Fatal(err)
	}
	return &svc
}

// TestAnotherPort : the app has a Service at one port, and the Canary's service has another. Both are served, and the
// user's Service has its own port alone again when the Canary is deleted.
func TestAnotherPort(t *testing.T) {
	s := story(t, fixtures.App{})
	s.port = 9898
	s.Apply(s.App.Service())
	s.Apply(s.App.Deployment())
	cluster.Eventually(t, 40*time.Second, func(ctx context.Context) error {
		_, _, err := s.WhoServes(ctx)
		return err
	})
	before := s.service()
	old := s.inside(80, 20)
	s.Start(s.canary(brisk))
	users := s.everybody()
	users.kinds["users of the old port"] = old
	s.Release("1.1.0")
	s.ends(0, siskinv1.PhaseSucceeded)
	s.serves("1.1.0", s.App.Name+"-primary-")
	users.kinds["users of the Service"].Stop() // its port goes with the Canary
	s.remove()
	after := s.service()
	if diff := cmp.Diff(before.Spec, after.Spec) + cmp.Diff(before.Annotations, after.Annotations); diff != "" {
		t.Errorf("the Service was not given back: -was +is\n%s", diff)
	}
	s.serves("1.1.0", s.App.Name+"-")
	users.unharmed()
}

// TestLifecycle : a Canary with revertOnDeletion comes to an app that has users, and goes again: workload and Service
// are as before, and nobody notices either.
func TestLifecycle(t *testing.T) {
	s := story(t, fixtures.App{Replicas: 2})
	s.Apply(s.App.Service())
	s.Apply(s.App.Deployment())
	cluster.Eventually(t, 40*time.Second, func(ctx context.Context) error {
		_, _, err := s.WhoServes(ctx)
		return err
	})
	before := s.service()
	first := s.inside(80, 20)
	s.Start(s.canary(brisk, "revertOnDeletion: true"))
	users := s.everybody()
	users.kinds["users from the beginning"] = first
	s.serves("1.0.0", s.App.Name+"-primary-")
	s.remove()
	s.serves("1.0.0", s.App.Name+"-")
	if d := s.Deployment(""); *d.Spec.Replicas != 2 || d.Status.AvailableReplicas != 2 || d.Annotations[siskinv1.HeldAnnotation] != "" {
		t.Errorf("the target has %d replicas, %d available, annotations %v", *d.Spec.Replicas, d.Status.AvailableReplicas, d.Annotations)
	}
	after := s.service()
	if diff := cmp.Diff(before.Spec, after.Spec) + cmp.Diff(before.Annotations, after.Annotations) + cmp.Diff(before.Labels, after.Labels); diff != "" {
		t.Errorf("the Service was not given back: -was +is\n%s", diff)
	}
	users.unharmed()
}

// TestDeletion : whatever was not promoted reaches nobody by deleting the Canary: a version that was taken back, or one
// that is on trial.
func TestDeletion(t *testing.T) {
	for name, midway := range map[string]bool{"a failed Canary": false, "a Canary in a rollout": true} {
		t.Run(name, func(t *testing.T) {
			s := story(t, fixtures.App{})
			s.set("check", fixtures.Yes)
			s.Start(s.canary("    interval: 3s\n    threshold: 1\n    maxWeight: 50\n    stepWeight: 25\n    webhooks:\n    " + s.gate("check", "rollout")))
			users := s.everybody()
			if !midway {
				s.set("check", fixtures.No)
			}
			s.Release("1.1.0")
			if midway {
				s.Weight(25, time.Minute)
			} else {
				s.ends(0, siskinv1.PhaseFailed)
			}
			s.remove()
			if image := s.Deployment("").Spec.Template.Spec.Containers[0].Image; image != "siskin.dev/testapp:1.0.0" {
				t.Errorf("the target runs %s, which was not promoted", image)
			}
			s.serves("1.0.0", s.App.Name+"-")
			users.unharmed()
		})
	}
}
