"""The organs of chimeras: one table for each organ, kind → strokes in the notation of `strokes`.

`anatomy` sets the position of an organ and the length of its unit. An empty text means that the
creature lacks the organ. Paired organs are described as on the right side of the image.
"""

import math

# The shape of the head. The units are its half width and its half height.
HEADS = {
    "round": "puff main 0,0 1.1,1.1 10 1",
    "jowl": "smooth main -.5,-1.15 .5,-1.15 .9,-.4 1.4,.5 .8,1.15 -.8,1.15 -1.4,.5 -.9,-.4",
    "heart": "smooth main 0,-.75 .7,-1.35 1.3,-.5 .9,.5 .25,1.2 -.25,1.2 -.9,.5 -1.3,-.5 -.7,-1.35",
    "furry": "puff main 0,0 1.3,1.25 18 .75",
    "boxy": "smooth main -1.1,-1.05 0,-1.05 1.1,-1.05 1.1,0 1.1,1.05 0,1.05 -1.1,1.05 -1.1,0",
}

EARS = {
    "none": "",
    "pointed": """
        edged main -.4,-.1 .45,-1 .45,.3
        edged second -.1,-.2 .36,-.8 .3,0
    """,
    "round": """
        disc main .2,-.25 .5
        disc second .22,-.22 .3
    """,
    "long": """
        limb main .22>.14 0,.2 0,-1 .4,-1.6
        limb accent .17>.1 .3,-1.3 .36,-1.5 .42,-1.7
    """,
    "floppy": "limb second .2>.3 0,0 .9,-.3 .8,1",
    "fin": "edged second 0,.5 0,-.3 .8,-.7 .7,-.1 1,.1 .6,.3",
    "horn": "limb light .2>1.2u 0,.1 .6,-.2 .4,-1",
    "antenna": """
        limb dark 2.2u>1.6u 0,0 0,-.8 .7,-1
        disc accent .7,-1 .16
    """,
    "leaf": """
        smooth accent 0,0 .1,-1 1.1,-.8 1.1,-.8 .9,.1
        line dark 1.5u 0,0 .88,-.64
    """,
    "tuft": "edged main -.4,0 -.1,-1 .1,-.55 .5,-.8 .45,-.35 .9,-.3 .4,.3",
}

CRESTS = {
    "none": "",
    "mohawk": "edged accent -.5,.2 -.6,-.5 -.2,-.2 0,-1 .2,-.2 .6,-.5 .5,.2",
    "unicorn": """
        edged light -.2,.2 .1,-1.1 .25,.2
        line dark 1.6u -.1,-.1 .2,-.2
    """,
    "flower": """
        disc accent .4,-.3 .26
        disc accent .2,.046 .26
        disc accent -.2,.046 .26
        disc accent -.4,-.3 .26
        disc accent -.2,-.646 .26
        disc accent .2,-.646 .26
        disc light 0,-.3 .24
    """,
    "bud": """
        smooth accent -.6,.2 -.6,-.5 0,-1.2 .6,-.5 .6,.2
        line dark 2u 0,-.8 -.12,-.3 0,.1
    """,
    "flame": """
        smooth accent -.5,.2 -.5,-.5 0,-.5 .05,-1.4 .5,-.4 .5,.2
        smooth light -.25,.1 -.25,-.25 0,-.25 .025,-.7 .25,-.2 .25,.1
    """,
    "gem": """
        edged accent 0,-.05 .3,.35 0,.75 -.3,.35
        edged light 0,.05 .1,.35 -.1,.35
    """,
    "forelock": """
        limb second .14>1.5u 0,-.1 -.3,-.7 -.7,-.5
        limb second .14>1.5u 0,-.1 .06,-.7 .14,-.5
        limb second .14>1.5u 0,-.1 .3,-.7 .7,-.5
    """,
    "cap": "smooth second -1,.5 -.7,-.5 .7,-.5 1,.5 0,.15",
    "frill": "star accent 0,.9 1.9,1.6 22 .8",
}

EYES = {
    "bead": """
        oval black 0,0 .62,.75
        oval white =-.15,-.3 .2,.22
    """,
    "open": """
        oval white 0,0 1,1.1
        oval iris -.2,.1 .65,.8
        oval black -.2,.1 .35,.45
        disc white =-.3,-.3 .2
    """,
    "angry": """
        edged white -1,.2 1.1,-.8 1,.4 =0,.7
        oval iris .1,.1 .34,.48
        oval black .1,.1 .16,.4
        line black .25 -1.1,.2 1.2,-.9
    """,
    "slit": """
        smooth iris -1.2,0 0,-1.1 1.2,0 0,1.1
        oval black 0,0 .16,.6
    """,
    "closed": "line black .28 -.9,0 0,.5 .9,0",
    "sleepy": """
        disc white 0,0 1
        oval black -.1,.3 .4,.5
        edged dark -1.1,-1.1 1.1,-1.1 1.1,0 -1.1,0
    """,
    "glow": """
        oval dark 0,0 1.1,1.2
        oval iris 0,0 .8,.85
    """,
    "tall": """
        oval black 0,0 .7,1.35
        oval iris 0,.5 .5,.6
        oval white =-.1,-.6 .3,.42
    """,
}

SNOUTS = {
    "none": "",
    "button": "oval black 0,-.1 .11,.08",
    "muzzle": """
        oval light 0~.2,.15 .55,.4
        oval black 0~.35,-.05 .15,.11
    """,
    "beak": """
        smooth accent -.4,-.1 0,-.3 .4,-.1 0~.9,.45 0~.9,.45
        line dark 1.8u -.25,.08 0~.9,.2 .25,.08
    """,
    "bill": """
        oval light 0~.35,.2 .75,.26
        line dark 2u -.7~.35,.2 0~.35,.28 .7~.35,.2
    """,
    "trunk": "limb second .24>.13 0,-.1 0~.3,1 .1~.9,.8",
    "nostrils": """
        smooth main -.6,.4 -.5,-.3 .5~.4,-.3 .6~.5,.5
        oval dark -.16~.35,0 .05,.07
        oval dark .16~.35,0 .05,.07
    """,
    "pig": """
        oval accent 0~.2,0 .36,.27
        oval dark -.13~.25,0 .06,.11
        oval dark .13~.25,0 .06,.11
    """,
}

MOUTHS = {
    "none": "",
    "smile": "line black 2.4u -.8,-.15 0,.2 .8,-.15",
    "flat": "line black 2.4u -.6,0 .6,0",
    "frown": "line black 2.4u -.6,.15 0,-.1 .6,.15",
    "gape": """
        smooth black -.9,-.3 .9,-.3 .4,.7 -.4,.7
        oval tongue 0,.25 .35,.18
    """,
    "cat": """
        line black 2.2u 0,-.2 -.3,.1 -.6,-.15
        line black 2.2u 0,-.2 .3,.1 .6,-.15
    """,
    "fangs": """
        line black 2.4u -.8,-.15 0,.2 .8,-.15
        edged white -.5,0 -.25,.08 -.36,.4
        edged white .5,0 .25,.08 .36,.4
    """,
    "grin": """
        smooth white -1.2,-.5 0,0 1.2,-.5 .7,.6 -.7,.6
        line dark 1.4u -.4,-.15 -.4,.35
        line dark 1.4u 0,-.15 0,.35
        line dark 1.4u .4,-.15 .4,.35
        line black 2u -.9,-.3 0,-.05 .9,-.3
    """,
}

CHEEKS = {
    "none": "",
    "blush": "disc accent 0,0 1",
    "bars": """
        line dark 2u =-1,-.7 =1,-.5
        line dark 2u =-1,0 =1,0
        line dark 2u =-1,.7 =1,.5
    """,
    "whiskers": """
        line black 1.8u 0,0 2,-.8
        line black 1.8u 0,0 2,.48
    """,
    "fluff": "edged light -1,-1 2,-.8 1,0 1.8,1 -1,1",
}

BELLIES = {
    "none": "",
    "bare": "oval light 0,.15 .68,.75",
    "ridged": """
        oval light 0,.15 .68,.75
        line dark 1.6u -.57,-.3 0,-.24 .57,-.3
        line dark 1.6u -.62,0 0,.06 .62,0
        line dark 1.6u -.57,.3 0,.36 .57,.3
        line dark 1.6u -.41,.6 0,.66 .41,.6
    """,
    "bib": "edged light -.8,-.7 .8,-.7 .3,0 0,.3 -.3,0",
    "collar": "puff accent 0,-.8 1,.38 14 .72",
    "emblem": "star accent 0,0 .45 10 .45",
}

COATS = {
    "plain": "",
    "spots": """
        disc second -.6,-.4 .13
        disc second .5,-.6 .16
        disc second 0,.1 .18
        disc second -.5,.5 .13
        disc second .65,.25 .16
        disc second .3,.75 .18
    """,
    "stripes": """
        edged dark -.78,-.7 -.78,-.5 -.27,-.57
        edged dark .78,-.7 .78,-.5 .27,-.57
        edged dark -.97,-.25 -.97,-.05 -.34,-.12
        edged dark .97,-.25 .97,-.05 .34,-.12
        edged dark -.93,.2 -.93,.4 -.33,.33
        edged dark .93,.2 .93,.4 .33,.33
        edged dark -.7,.6 -.7,.8 -.24,.73
        edged dark .7,.6 .7,.8 .24,.73
    """,
    "patches": """
        smooth second -.9,-.5 -.1,-.9 .1,-.1 -.6,.3
        smooth second .3,.1 .9,0 .7,.7 .2,.8
    """,
    "chevrons": """
        line second .11 -.5,-.65 0,-.4 .5,-.65
        line second .11 -.5,-.15 0,.1 .5,-.15
        line second .11 -.5,.35 0,.6 .5,.35
    """,
    "rings": """
        disc dark -.45,-.3 .2
        disc light -.45,-.3 .11
        disc dark .4,0 .2
        disc light .4,0 .11
        disc dark -.2,.55 .2
        disc light -.2,.55 .11
    """,
    "saddle": "smooth dark -.9,0 -.7,-1.1 .7,-1.1 .9,0 0,-.3",
}

# On the back, as wide as the trunk. The units are its half width and its half height.
BROAD_BACKS = {
    "shell": """
        oval light 0,.17 1.3,1.13
        oval second 0,0 1.2,1.09
        star dark 0,0 .48,.52 6 1
        line dark 2.4u 0,-.47 0,-1.03
        line dark 2.4u .44,-.23 .99,-.52
        line dark 2.4u .44,.23 .99,.52
        line dark 2.4u 0,.47 0,1.03
        line dark 2.4u -.44,.23 -.99,.52
        line dark 2.4u -.44,-.23 -.99,-.52
    """,
    "spines": "star second 0,0 1.5,1.35 26 .72",
    "cape": """
        smooth accent -.52,-.75 .52,-.75 1.56,1.5 .52,1.05 0,1.5 -.52,1.05 -1.56,1.5
    """,
}

# On top of the back. The unit is the half width of the trunk in both directions.
GROWING_BACKS = {
    "bulb": """
        smooth second -.91,.7 -.77,-.42 0,-1.33 .77,-.42 .91,.7
        line dark 2.4u 0,-.84 -.35,-.14 -.28,.49
        line dark 2.4u 0,-.84 .35,-.14 .28,.49
    """,
    "plant": """
        smooth second 0,.24 -.94,-.26 -1.24,-.52 -1.24,-.52 -.3,-.26
        smooth second 0,.24 -.65,-.56 -.65,-1.12 -.65,-1.12 -.01,-.56
        smooth second 0,.24 .01,-.56 .65,-1.12 .65,-1.12 .65,-.56
        smooth second 0,.24 .3,-.26 1.24,-.52 1.24,-.52 .94,-.26
        star accent 0,-.48 .6 12 .6
    """,
}

WINGS = {
    "bat": """
        edged second 0,.4 .7,-1.1 1.9,-.4 1.4,-.1 1.3,.5 .8,.2
        line dark 3u 0,.2 .7,-1
        line dark 2u .7,-1 1.3,.4
    """,
    "feathers": """
        limb second .3>.16 0,0 .55,-.5 1.57,-1.2
        limb light .3>.16 0,0 .6,-.5 1.55,-.65
        limb second .3>.16 0,0 .53,-.5 1.22,-.1
        limb light .3>.16 0,0 .36,-.5 .64,.45
    """,
    "gauze": """
        smooth light 0,0 .5,-1.4 1.8,-1.2 1.2,0
        smooth accent 0,0 1.4,0 1.2,1 .3,.7
    """,
}

_THIN = "limb main .12>.06 0,0 1,.4 1.1,-.9"
_THICK = "limb main .4>.1 0,0 .9,.5 1.1,-.5"


def _curl() -> str:
    """Return nine discs on a spiral."""
    strokes = []
    for i in range(9):
        angle, radius = 0.75 * i + 2.6, 0.55 - 0.045 * i
        x, y = 0.5 + radius * math.cos(angle), -0.2 - radius * math.sin(angle)
        strokes.append(f"disc {('main', 'second')[i % 2]} {x:.3f},{y:.3f} .17")
    return "\n".join(strokes)


def _banded() -> str:
    """Return six short limbs, end to end on a rising curve."""
    path = [(1.3 * t, 0.4 * t - 1.2 * t * t) for t in (i / 12 for i in range(13))]
    return "\n".join(
        f"limb {('main', 'dark')[i % 2]} .2>.18 "
        + " ".join(f"{x:.3f},{y:.3f}" for x, y in path[2 * i : 2 * i + 3])
        for i in range(6)
    )


TAILS = {
    "none": "",
    "thin": _THIN,
    "thick": _THICK,
    "bushy": """
        limb main .15>.42 0,0 1,.2 .9,-.7
        star light .9,-.95 .42 14 .75
    """,
    "zigzag": """
        edged second 0,-.15 .5,-.1 .3,-.6 .9,-.6 .7,-1.1 1.6,-1.3 1.2,-.3 .8,-.35 .9,.15 0,.2
    """,
    "torch": f"""
        {_THICK}
        smooth accent .83,-.49 .83,-.88 1.1,-.88 1.13,-1.37 1.38,-.82 1.38,-.49
        smooth light .96,-.55 .96,-.74 1.1,-.74 1.11,-.99 1.24,-.71 1.24,-.55
    """,
    "curl": _curl(),
    "spade": f"""
        {_THIN}
        edged accent .8,-.9 1.1,-1.4 1.4,-.9 1.1,-.8
    """,
    "fin": """
        limb main .25>.14 0,0 .4,0 .7,0
        edged second .5,0 1.4,-.8 1.1,0 1.4,.7
    """,
    "beads": """
        disc light 0,0 .28
        disc second .3,-.063 .255
        disc light .6,-.25 .23
        disc second .9,-.563 .205
        disc light 1.2,-1 .18
    """,
    "leaf": f"""
        {_THIN}
        smooth accent 1,-.6 1.07,-1.3 1.77,-1.16 1.77,-1.16 1.63,-.53
        line dark 1.5u 1,-.6 1.62,-1.05
    """,
    "banded": _banded(),
    "plumes": """
        limb second .1>.2 0,0 .7,.09 1.3,.45
        limb accent .1>.2 0,0 .7,-.06 1.3,-.3
        limb second .1>.2 0,0 .7,-.21 1.3,-1.05
    """,
    "pompom": """
        limb dark .07>.06 0,0 .8,0 .9,-.7
        puff accent .9,-.8 .36 16 .7
    """,
}

# Ends of legs and arms. The unit is the half width of the limb.
FEET = {
    "stub": "oval main .17,.08 1.25,.9",
    "claw": """
        oval main .17,.08 1.25,.9
        edged light -.72,.2 -.22,.2 -.39,1
        edged light .08,.2 .58,.2 .41,1
        edged light .88,.2 1.38,.2 1.21,1
    """,
    "paw": """
        oval second .25,.08 1.45,1
        line dark 2u -.25,.2 -.17,.8
        line dark 2u .55,.2 .63,.8
    """,
    "hoof": "edged dark -1,-.17 1,-.17 1.2,.75 -1.2,.75",
    "flipper": "edged second -1,-.5 1.9,.4 1,.5 1.3,1 -1,1",
    "boot": "smooth accent -1.2,-1.3 1.2,-1.3 2.1,1 -.7,1",
}
