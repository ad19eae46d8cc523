package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/siskin-dev/siskin/e2e/cluster"
)

func apply(t *testing.T, c *cluster.Cluster, manifest string) {
	t.Helper()
	if err := c.Apply(t.Context(), []byte(manifest)); err != nil {
		t.Fatal(err)
	}
}

func waitAvailable(t *testing.T, c *cluster.Cluster, namespace, name string) {
	t.Helper()
	cluster.Eventually(t, 60*time.Second, func(ctx context.Context) error {
		var d appsv1.Deployment
		if err := c.Client().Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &d); err != nil {
			return err
		}
		if s := d.Status; s.ObservedGeneration < d.Generation || s.UpdatedReplicas != *d.Spec.Replicas || s.ReadyReplicas != *d.Spec.Replicas || s.Replicas != *d.Spec.Replicas {
			return fmt.Errorf("%s: %+v", name, s)
		}
		return nil
	})
}

func pods(t *testing.T, c *cluster.Cluster, namespace, app string) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	if err := c.Client().List(t.Context(), &list, client.InNamespace(namespace), client.MatchingLabels{"app": app}); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// get returns the body of a GET that is answered with 200.
func get(ctx context.Context, hc *http.Client, url, host string) (string, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", nil, err
	}
	req.Host = host
	resp, err := hc.Do(req)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), resp.Header, nil
}

func waitGet(t *testing.T, hc *http.Client, url, host, want string) {
	t.Helper()
	cluster.Eventually(t, time.Minute, func(ctx context.Context) error {
		b, _, err := get(ctx, hc, url, host)
		if err == nil && !strings.Contains(b, want) {
			err = errors.New("unexpected answer: " + b)
		}
		return err
	})
}

// marked lists the processes that carry the id of a cluster.
func marked(id string) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	var out []int
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(data), "SISKIN_CLUSTER_ID="+id) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err == nil && pid != os.Getpid() {
			out = append(out, pid)
		}
	}
	return out
}
