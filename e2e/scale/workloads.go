package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/siskin-dev/siskin/e2e/fleet"
)

// workloads plays the controllers of Deployments and EndpointSlices, the scheduler and the kubelets: what a Deployment asks for is
// ready at once.
type workloads struct{ api kubernetes.Interface }

func newWorkloads(cfg *rest.Config) (*workloads, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.ContentType = runtime.ContentTypeProtobuf // the cheapest for the machine that all of this shares
	api, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return &workloads{api}, nil
}

func (w *workloads) run(ctx context.Context, say func(string, ...any)) {
	for ctx.Err() == nil {
		if err := w.watch(ctx); err != nil && ctx.Err() == nil {
			say("playing the workload controllers: %v", err)
			_ = fleet.Pause(ctx, time.Second)
		}
	}
}

func (w *workloads) watch(ctx context.Context) error {
	events, err := w.api.AppsV1().Deployments("").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("watching Deployments: %w", err)
	}
	defer events.Stop()
	var group errgroup.Group
	group.SetLimit(16)
	for ev := range events.ResultChan() {
		d, ok := ev.Object.(*appsv1.Deployment)
		if !ok || d.Status.ObservedGeneration == d.Generation {
			continue
		}
		group.Go(func() error { return w.obey(ctx, d) })
	}
	return group.Wait()
}

// obey makes the pods that d asks for.
func (w *workloads) obey(ctx context.Context, d *appsv1.Deployment) error {
	n, had := *d.Spec.Replicas, d.Status.Replicas
	if n != had && (strings.HasSuffix(d.Name, "-primary") || strings.HasSuffix(d.Name, "-canary")) {
		if err := w.endpoints(ctx, d, n); err != nil {
			return err
		}
	}
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n,
	}
	_, err := w.api.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) { // a conflict: a newer one is on its way
		return fmt.Errorf("writing the status of %s: %w", d.Name, err)
	}
	return nil
}

func (w *workloads) endpoints(ctx context.Context, d *appsv1.Deployment, n int32) error {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name, Labels: map[string]string{discoveryv1.LabelServiceName: d.Name}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i := range n {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.200.0.%d", i%250+1)}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
		})
	}
	api := w.api.DiscoveryV1().EndpointSlices(d.Namespace)
	_, err := api.Update(ctx, slice, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = api.Create(ctx, slice, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("writing the endpoints of %s: %w", d.Name, err)
	}
	return nil
}
