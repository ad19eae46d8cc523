// Package metricsserver is a metrics API (metrics.k8s.io/v1beta1) for tests: what pods use is what the test says. The
// horizontal-pod-autoscaler controller of the real controller manager reads it.
package metricsserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
)

// window is the time over which pods are said to have been measured.
const window = time.Second

// Server is the metrics API.
type Server struct {
	client kubernetes.Interface

	mu    sync.Mutex
	loads map[string][]load // by namespace
}

// load is work that the ready pods with some labels share.
type load struct {
	text     string
	selector labels.Selector
	milli    int64
}

// New returns a server that Start starts.
func New(client kubernetes.Interface) *Server {
	return &Server{client: client, loads: map[string][]load{}}
}

// SetLoad makes the ready pods that selector selects share milli thousandths of a CPU. A pod that no load selects has no metrics.
func (s *Server) SetLoad(namespace, selector string, milli int64) error {
	sel, err := labels.Parse(selector)
	if err != nil {
		return fmt.Errorf("reading the selector: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, l := range s.loads[namespace] {
		if l.text == selector {
			s.loads[namespace][i].milli = milli
			return nil
		}
	}
	s.loads[namespace] = append(s.loads[namespace], load{text: selector, selector: sel, milli: milli})
	return nil
}

// Start serves on addr, over TLS.
func (s *Server) Start(ctx context.Context, addr, cert, key string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listening for the metrics API: %w", err)
	}
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() { _ = server.ServeTLS(l, cert, key) }()
	return nil
}

const (
	group   = "metrics.k8s.io"
	version = group + "/v1beta1"
)

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	answer := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			out, err := f(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(out)
		})
	}
	known := metav1.GroupVersionForDiscovery{GroupVersion: version, Version: "v1beta1"}
	one := metav1.APIGroup{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}, Name: group,
		Versions: []metav1.GroupVersionForDiscovery{known}, PreferredVersion: known,
	}
	answer("GET /apis", func(*http.Request) (any, error) {
		return metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{one}}, nil
	})
	answer("GET /apis/"+group, func(*http.Request) (any, error) { return one, nil })
	answer("GET /apis/"+version, func(*http.Request) (any, error) {
		return metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: version,
			APIResources: []metav1.APIResource{{Name: "pods", Namespaced: true, Kind: "PodMetrics", Verbs: metav1.Verbs{"get", "list"}}},
		}, nil
	})
	answer("GET /apis/"+version+"/pods", s.pods)
	answer("GET /apis/"+version+"/namespaces/{namespace}/pods", s.pods)
	return mux
}

// podMetrics are the fields of PodMetrics that are read; their module is not worth a dependency.
type podMetrics struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Timestamp  metav1.Time        `json:"timestamp"`
	Window     metav1.Duration    `json:"window"`
	Containers []containerMetrics `json:"containers"`
}

type containerMetrics struct {
	Name  string            `json:"name"`
	Usage map[string]string `json:"usage"`
}

func (s *Server) pods(r *http.Request) (any, error) {
	namespace := r.PathValue("namespace")
	list, err := s.client.CoreV1().Pods(namespace).List(r.Context(), metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	wanted, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		return nil, errors.New("the selector cannot be read")
	}
	items := []podMetrics{}
	for i := range list.Items {
		p := &list.Items[i]
		milli, ok := s.share(p, list.Items)
		if !ok || !wanted.Matches(labels.Set(p.Labels)) {
			continue
		}
		m := podMetrics{
			ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, Labels: p.Labels},
			Timestamp:  metav1.Now(), Window: metav1.Duration{Duration: window},
		}
		for j, c := range p.Spec.Containers {
			usage := map[string]string{"cpu": "0", "memory": "1Mi"}
			if j == 0 {
				usage["cpu"] = strconv.FormatInt(milli, 10) + "m"
			}
			m.Containers = append(m.Containers, containerMetrics{Name: c.Name, Usage: usage})
		}
		items = append(items, m)
	}
	return map[string]any{"kind": "PodMetricsList", "apiVersion": version, "metadata": map[string]any{}, "items": items}, nil
}

// share returns what a ready pod uses: its part of each load that selects it.
func (s *Server) share(p *corev1.Pod, all []corev1.Pod) (int64, bool) {
	if !ready(p) {
		return 0, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var milli int64
	var measured bool
	for _, l := range s.loads[p.Namespace] {
		if !l.selector.Matches(labels.Set(p.Labels)) {
			continue
		}
		var n int64
		for i := range all {
			if all[i].Namespace == p.Namespace && ready(&all[i]) && l.selector.Matches(labels.Set(all[i].Labels)) {
				n++
			}
		}
		milli, measured = milli+l.milli/n, true
	}
	return milli, measured
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}
