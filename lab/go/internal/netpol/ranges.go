package netpol

import (
	"fmt"
	"net/netip"
	"slices"
)

// Range is an inclusive span of addresses of one family.
type Range struct {
	First, Last netip.Addr
}

func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + "-" + r.Last.String()
}

// single is the range that holds one address.
func single(address netip.Addr) Range { return Range{First: address, Last: address} }

// prefixRange is the range of all addresses of a CIDR, host bits ignored.
func prefixRange(cidr string) (Range, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return Range{}, fmt.Errorf("%q is no CIDR", cidr)
	}
	prefix = prefix.Masked()
	last := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 1 << (7 - bit%8)
	}
	end, _ := netip.AddrFromSlice(last)
	return Range{First: prefix.Addr(), Last: end}, nil
}

// subtract removes every hole from every range. Holes of another family have no effect.
func subtract(ranges, holes []Range) []Range {
	for _, hole := range holes {
		var kept []Range
		for _, r := range ranges {
			if r.First.BitLen() != hole.First.BitLen() || hole.Last.Less(r.First) || r.Last.Less(hole.First) {
				kept = append(kept, r)
				continue
			}
			if r.First.Less(hole.First) {
				kept = append(kept, Range{First: r.First, Last: hole.First.Prev()})
			}
			if hole.Last.Less(r.Last) {
				kept = append(kept, Range{First: hole.Last.Next(), Last: r.Last})
			}
		}
		ranges = kept
	}
	return ranges
}

// merge sorts ranges and joins those that overlap or touch: nft refuses overlaps.
// IPv4 sorts before IPv6.
func merge(ranges []Range) []Range {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b Range) int { return a.First.Compare(b.First) })
	var merged []Range
	for _, r := range sorted {
		if len(merged) > 0 {
			previous := &merged[len(merged)-1]
			sameFamily := previous.Last.BitLen() == r.First.BitLen()
			// Next of the family's last address is the invalid Addr, which touches nothing.
			if sameFamily && (!previous.Last.Less(r.First) || previous.Last.Next() == r.First) {
				if previous.Last.Less(r.Last) {
					previous.Last = r.Last
				}
				continue
			}
		}
		merged = append(merged, r)
	}
	return merged
}

// family keeps the ranges of IPv4 (bits 32) or IPv6 (bits 128).
func family(ranges []Range, bits int) []Range {
	var kept []Range
	for _, r := range ranges {
		if r.First.BitLen() == bits {
			kept = append(kept, r)
		}
	}
	return kept
}
