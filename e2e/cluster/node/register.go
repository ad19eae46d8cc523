package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/siskin-dev/siskin/e2e/cluster/internal/wire"
)

// registerNode makes the one node. Nobody watches its heartbeat (no node lifecycle controller runs), so it is
// ready once and for all.
func (a *Agent) registerNode(ctx context.Context) error {
	nodes := a.Client.CoreV1().Nodes()
	node, err := nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: wire.NodeName,
		Labels: map[string]string{
			corev1.LabelHostname: wire.NodeName, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
			corev1.LabelTopologyZone: "local", corev1.LabelTopologyRegion: "local",
		},
	}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("creating the node: %w", err)
	}
	if len(node.Spec.Taints) > 0 {
		node.Spec.Taints = nil
		if node, err = nodes.Update(ctx, node, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("removing the node's taints: %w", err)
		}
	}
	all := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1000"), corev1.ResourceMemory: resource.MustParse("4Ti"),
		corev1.ResourcePods: resource.MustParse("10000"),
	}
	now := metav1.Now()
	node.Status = corev1.NodeStatus{
		Capacity: all, Allocatable: all,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: wire.NodeIP}, {Type: corev1.NodeHostName, Address: wire.NodeName},
		},
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "pods run as processes",
			LastHeartbeatTime: now, LastTransitionTime: now,
		}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: 10250}},
		NodeInfo: corev1.NodeSystemInfo{
			KubeletVersion: "v1.36.3", OperatingSystem: "linux", Architecture: "amd64", ContainerRuntimeVersion: "process://1", OSImage: "host",
		},
	}
	if _, err := nodes.UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("writing the node's status: %w", err)
	}
	return nil
}

// fake says that no container of the pod has a process.
func (a *Agent) fake(pod *corev1.Pod) bool {
	if len(pod.Spec.InitContainers) > 0 {
		return false
	}
	for i := range pod.Spec.Containers {
		if p, ok := a.program(pod.Spec.Containers[i].Image); !ok || p.Path != "" {
			return false
		}
	}
	return true
}

// syncFake makes a pod without processes run (one write) or go (one write).
func (a *Agent) syncFake(ctx context.Context, pod *corev1.Pod) error {
	if pod.DeletionTimestamp != nil {
		return a.deletePod(ctx, pod)
	}
	if pod.Status.Phase == corev1.PodRunning && pod.Status.ObservedGeneration == pod.Generation {
		return nil
	}
	now := metav1.Now()
	states := make([]containerState, 0, len(pod.Spec.Containers))
	for i := range pod.Spec.Containers {
		states = append(states, containerState{
			spec: &pod.Spec.Containers[i], started: true, ready: true,
			state: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	return a.writeStatus(ctx, pod, podStatus(pod, statusInput{
		ip: a.allocateIP(pod.UID), initialized: true, containers: states, now: now,
	}))
}

// writeStatus patches the status if it differs. A pod that is gone is no error.
func (a *Agent) writeStatus(ctx context.Context, pod *corev1.Pod, status corev1.PodStatus) error {
	// Compared as JSON: times lose their fractions on the way.
	was, err := json.Marshal(pod.Status)
	if err != nil {
		return fmt.Errorf("encoding the status: %w", err)
	}
	is, err := json.Marshal(status)
	if err != nil {
		return fmt.Errorf("encoding the status: %w", err)
	}
	if bytes.Equal(was, is) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		return fmt.Errorf("encoding the status: %w", err)
	}
	_, err = a.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("writing the status: %w", err)
	}
	return nil
}
