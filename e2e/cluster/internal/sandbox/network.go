// Package sandbox makes the isolation that a cluster of processes needs from the kernel: a network of its own
// with a bridge, a root file system in which files can be mounted anywhere, and network and mount namespaces
// for each pod.
package sandbox

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const bridgeName = "br0"

// Network is the network of a cluster: a bridge that joins the network namespaces of the pods.
type Network struct {
	bridge *netlink.Bridge
	// Shared says that the kernel has no bridge or veth: all pods live in the cluster's one network namespace
	// and have to bind their own address.
	Shared bool
	// Reason is why it is shared.
	Reason error
}

// SetupNetwork brings up lo, makes every service address local (so that the service proxy can bind each of
// them) and builds the bridge with the given own addresses.
func SetupNetwork(podCIDR, serviceCIDR string, own []string, shared bool) (*Network, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("finding lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return nil, fmt.Errorf("bringing up lo: %w", err)
	}
	if err := localRoute(lo, serviceCIDR); err != nil {
		return nil, err
	}
	n := &Network{}
	if shared {
		n.Shared, n.Reason = true, errors.New("a shared network was asked for")
		return n, localRoute(lo, podCIDR)
	}
	if err := n.addBridge(podCIDR, own); err != nil {
		n.Shared, n.Reason = true, err
		return n, localRoute(lo, podCIDR)
	}
	return n, nil
}

func localRoute(lo netlink.Link, cidr string) error {
	_, dst, err := net.ParseCIDR(cidr)
	if err != nil {
		return fmt.Errorf("parsing %q: %w", cidr, err)
	}
	r := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("adding local route %s: %w", cidr, err)
	}
	return nil
}

func (n *Network) addBridge(podCIDR string, own []string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	// A fixed address: otherwise the bridge takes the lowest one of its ports, which changes as pods come and
	// go, and every pod's neighbour table goes stale.
	attrs.HardwareAddr = net.HardwareAddr{0x02, 0, 0, 0, 0, 1}
	br := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("adding a bridge: %w", err)
	}
	link, err := netlink.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("finding the bridge: %w", err)
	}
	n.bridge = &netlink.Bridge{LinkAttrs: *link.Attrs()}
	_, pods, err := net.ParseCIDR(podCIDR)
	if err != nil {
		return fmt.Errorf("parsing %q: %w", podCIDR, err)
	}
	for _, ip := range own {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(ip), Mask: pods.Mask}}
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("adding address %s: %w", ip, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bringing up the bridge: %w", err)
	}
	probe := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "probe0"}, PeerName: "probe1"}
	if err := netlink.LinkAdd(probe); err != nil {
		_ = netlink.LinkDel(link)
		return fmt.Errorf("adding a veth pair: %w", err)
	}
	return netlink.LinkDel(probe)
}

// PodNet is the network namespace of a pod. The namespace lives as long as the file or a process in it.
type PodNet struct {
	File *os.File
	veth string
}

// AddPod makes a network namespace with the address ip/16 and joins it to the bridge.
func (n *Network) AddPod(ip, gateway string, serial int) (*PodNet, error) {
	veth := fmt.Sprintf("v%d", serial)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = veth
	attrs.MasterIndex = n.bridge.Index
	peer := veth + "p"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer}); err != nil {
		return nil, fmt.Errorf("adding a veth pair: %w", err)
	}
	p := &PodNet{veth: veth}
	if err := p.configure(peer, ip, gateway); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	host, err := netlink.LinkByName(veth)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if err := netlink.LinkSetUp(host); err != nil {
		return nil, errors.Join(fmt.Errorf("bringing up %s: %w", veth, err), p.Close())
	}
	return p, nil
}

// configure makes the namespace on a locked thread: the thread is in the new namespace only in here.
func (p *PodNet) configure(peer, ip, gateway string) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening the network namespace: %w", err)
	}
	defer func() { _ = home.Close() }()
	ns, err := netns.New()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("making a network namespace: %w", err)
	}
	p.File = os.NewFile(uintptr(ns), "netns")
	if err := netns.Set(home); err != nil {
		// The thread stays locked: Go ends it with the goroutine rather than reuse it in a wrong namespace.
		return fmt.Errorf("returning to the network namespace: %w", err)
	}
	runtime.UnlockOSThread()

	link, err := netlink.LinkByName(peer)
	if err != nil {
		return fmt.Errorf("finding %s: %w", peer, err)
	}
	if err := netlink.LinkSetNsFd(link, int(ns)); err != nil {
		return fmt.Errorf("moving %s: %w", peer, err)
	}
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("opening netlink in the pod: %w", err)
	}
	defer h.Close()
	return configurePod(h, peer, ip, gateway)
}

func configurePod(h *netlink.Handle, peer, ip, gateway string) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding lo in the pod: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bringing up lo in the pod: %w", err)
	}
	link, err := h.LinkByName(peer)
	if err != nil {
		return fmt.Errorf("finding %s in the pod: %w", peer, err)
	}
	if err := h.LinkSetName(link, "eth0"); err != nil {
		return fmt.Errorf("naming eth0: %w", err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(16, 32)}}
	if err := h.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("adding address %s: %w", ip, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("bringing up eth0: %w", err)
	}
	if err := h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway)}); err != nil {
		return fmt.Errorf("adding the default route: %w", err)
	}
	return nil
}

// Close removes the pod's network.
func (p *PodNet) Close() error {
	if p == nil {
		return nil
	}
	if p.File != nil {
		_ = p.File.Close()
	}
	link, err := netlink.LinkByName(p.veth)
	if err != nil {
		return nil //nolint:nilerr // gone with its namespace
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("removing %s: %w", p.veth, err)
	}
	return nil
}
